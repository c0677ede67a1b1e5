"""Arguments of a network, and the tensor among them that the maps lie over."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from camtool.errors import CamtoolError

_Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Inputs:
    """A network's arguments: a tensor, a tuple (by position) or a dict (by keyword), perhaps with tuples and dicts inside."""

    arguments: Any
    place: _Place
    """Keys and positions of the maps' tensor in `arguments`; () if it is the only argument."""

    @property
    def picture(self) -> Tensor:
        """(n, c, *spatial): the tensor that the maps lie over."""
        return next(tensor for place, tensor in _tensors(self.arguments) if place == self.place)

    def with_picture(self, picture: Tensor) -> "Inputs":
        """Return these inputs with another tensor `picture`."""
        return Inputs(_mapped(self.arguments, lambda place, tensor: picture if place == self.place else tensor), self.place)

    def first_sample(self) -> "Inputs":
        """Return the inputs of the first sample alone: the first row of every tensor with the batch axis first."""
        return self.sample(0)

    def sample(self, index: int) -> "Inputs":
        """Return the inputs of one sample alone."""
        return self._by_sample(lambda tensor: tensor[index : index + 1])

    def expanded(self, times: int) -> "Inputs":
        """Return the inputs of one sample, repeated `times` as expanded views."""
        return self._by_sample(lambda tensor: tensor.expand(times, *tensor.shape[1:]))

    def repeated(self, times: int) -> "Inputs":
        """Return the inputs of the whole batch, repeated `times`."""
        return self._by_sample(lambda tensor: tensor.repeat(times, *[1] * (tensor.ndim - 1)))

    def _by_sample(self, change: Callable[[Tensor], Tensor]) -> "Inputs":
        batch = len(self.picture)
        return Inputs(_mapped(self.arguments, lambda _, tensor: change(tensor) if tensor.shape[:1] == (batch,) else tensor), self.place)

    def detached(self) -> "Inputs":
        """Return the same values without a graph; only inference tensors, which cannot join a graph, are copied."""
        return Inputs(_mapped(self.arguments, lambda _, tensor: tensor.clone() if tensor.is_inference() else tensor.detach()), self.place)

    def run(self, model: nn.Module) -> Any:
        """Return the network's output; errors of the network get a note with the shapes of its arguments."""
        # Clones: a first layer may work in place, and the inputs are needed again. (Expanded views raise an error by themselves.)
        arguments = _mapped(self.arguments, lambda _, tensor: tensor if 0 in tensor.stride() else tensor.clone())
        try:
            if isinstance(arguments, dict):
                return model(**arguments)
            return model(*arguments) if isinstance(arguments, tuple) else model(arguments)
        except CamtoolError:
            raise
        except Exception as error:
            shapes = ", ".join(f"{_named(place)}{tuple(tensor.shape)}" for place, tensor in _tensors(arguments))
            error.add_note(f"Raised by the network itself, called with {shapes}.")
            raise


def find_inputs(inputs: Any, name: str | int | _Place | None = None) -> Inputs:
    """Return the inputs with the tensor at `name`: a key, a position, or several of these, outermost first.

    None: the only tensor that can be a picture, (n, c, *spatial) with one to three spatial axes.

    Raises:
        CamtoolError: if there is no such tensor, or several and no name.

    Example:
        >>> import torch
        >>> from camtool.instrumentation.inputs import find_inputs
        >>> find_inputs({"pixels": torch.zeros(1, 3, 8, 8), "mask": torch.zeros(1, 8)}).place
        ('pixels',)
    """
    arguments = _mapped(inputs, lambda _, tensor: tensor)
    tensors = dict(_tensors(arguments))
    fitting = [place for place, tensor in tensors.items() if _is_picture(tensor)]
    if name is not None and not isinstance(inputs, Tensor):
        fitting = [place for place in tensors if place == name] or [place for place in tensors if place[-1] == name]
        if not fitting:
            raise CamtoolError(f"No input {name!r}; expected one of: {', '.join(map(_quoted, tensors)) or 'none, there is no tensor'}.")
    if len(fitting) > 1:
        raise CamtoolError(
            f"Several inputs can be the picture that the maps lie over: {', '.join(map(_quoted, fitting))}; name one by input=…."
        )
    if not fitting or not _is_picture(tensors[fitting[0]]):
        tensor = next((tensors[place] for place in fitting or tensors), None)
        description = f"shape {tuple(tensor.shape)} of {tensor.dtype}" if tensor is not None else type(inputs).__name__
        raise CamtoolError(f"Expected inputs (n, c, *spatial) of floating point with one to three spatial axes, got {description}.")
    return Inputs(arguments, fitting[0])


def _is_picture(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim in (3, 4, 5) and 0 not in tensor.shape


def _tensors(arguments: Any, place: _Place = ()) -> Iterator[tuple[_Place, Tensor]]:
    if isinstance(arguments, Tensor):
        yield place, arguments
    elif isinstance(arguments, (dict, list, tuple)):
        for key, value in arguments.items() if isinstance(arguments, dict) else enumerate(arguments):
            yield from _tensors(value, (*place, key))


def _mapped(arguments: Any, change: Callable[[_Place, Tensor], Tensor], place: _Place = ()) -> Any:
    """Return `arguments` as dicts, tuples and, inside, lists, with `change` applied to every tensor."""
    if isinstance(arguments, Tensor):
        return change(place, arguments)
    if isinstance(arguments, Mapping):
        return {key: _mapped(value, change, (*place, key)) for key, value in arguments.items()}
    if isinstance(arguments, (list, tuple)):
        values = [_mapped(value, change, (*place, key)) for key, value in enumerate(arguments)]
        return values if isinstance(arguments, list) and place else tuple(values)
    return arguments


def _named(place: _Place) -> str:
    return f"{'.'.join(map(str, place))} " if place else ""


def _quoted(place: _Place) -> str:
    return repr(place[-1]) if place else "the tensor"
