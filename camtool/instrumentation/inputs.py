"""Arguments of a network, and the tensor among them that the maps lie over."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from torch import Tensor, nn

from camtool.axes import Axes, default_axes
from camtool.errors import CamtoolError
from camtool.instrumentation.adaptation import adapted
from camtool.targets import OutputName, find_part

_Place = tuple[str | int, ...]
Name: TypeAlias = str | int | _Place | None
"""A key or a position of an input, or several of these, outermost first."""


@dataclass(frozen=True)
class Inputs:
    """A network's arguments: a tensor, a tuple (by position) or a dict (by keyword), perhaps with tuples and dicts inside."""

    arguments: Any
    place: _Place
    """Keys and positions of the maps' tensor in `arguments`; () if it is the only argument."""
    axes: Axes
    """Axes of the maps' tensor in `arguments`, in its own order."""
    batch_axes: Mapping[_Place, int]
    """Number of the batch axis by place of each tensor that has one."""
    output: OutputName = None
    """Name of the part of the network's output that holds the scores; None: the whole."""
    listed: bool = False
    """Whether the network takes the maps' tensor, its only argument, as a list of the samples."""

    @cached_property
    def picture(self) -> Tensor:
        """(n, c, *spatial): the tensor that the maps lie over, with its axes in this order."""
        return self.axes.to_picture(self._tensor)

    @property
    def _tensor(self) -> Tensor:
        return next(tensor for place, tensor in _tensors(self.arguments) if place == self.place)

    def with_picture(self, picture: Tensor) -> "Inputs":
        """Return these inputs with another tensor `picture` (n, c, *spatial)."""
        tensor = self.axes.from_picture(picture)
        return self._mapped(lambda place, other: tensor if place == self.place else other)

    def first_sample(self) -> "Inputs":
        """Return the inputs of the first sample alone, of every tensor with a batch axis."""
        return self.sample(0)

    def sample(self, index: int) -> "Inputs":
        """Return the inputs of one sample alone."""
        return self._by_sample(lambda tensor, axis: tensor.narrow(axis, index, 1))

    def expanded(self, times: int) -> "Inputs":
        """Return the inputs of one sample, repeated `times` as expanded views."""
        return self._by_sample(lambda tensor, axis: tensor.expand(*tensor.shape[:axis], times, *tensor.shape[axis + 1 :]))

    def repeated(self, times: int) -> "Inputs":
        """Return the inputs of the whole batch, repeated `times`; themselves for once."""
        if times == 1:
            return self
        return self._by_sample(lambda tensor, axis: tensor.repeat(*[1] * axis, times, *[1] * (tensor.ndim - axis - 1)))

    def _by_sample(self, change: Callable[[Tensor, int], Tensor]) -> "Inputs":
        """Apply `change` to every tensor that belongs to the samples, with its batch axis."""
        batch = self.batch_axes
        return self._mapped(lambda place, tensor: change(tensor, batch[place]) if place in batch else tensor)

    def detached(self) -> "Inputs":
        """Return the same values without a graph; only inference tensors, which cannot join a graph, are copied."""
        return self._mapped(lambda _, tensor: tensor.clone() if tensor.is_inference() else tensor.detach())

    def _mapped(self, change: Callable[[_Place, Tensor], Tensor]) -> "Inputs":
        return replace(self, arguments=_mapped(self.arguments, change))

    def run(self, model: nn.Module) -> Any:
        """Return the network's output, the part of it that `output` names; see `run_whole`."""
        return self.chosen(self.run_whole(model))

    def chosen(self, output: Any) -> Any:
        """Return the part of a network's output that `output` names; TargetError if there is none."""
        return find_part(output, self.output)[1]

    def run_whole(self, model: nn.Module) -> Any:
        """Return the network's whole output; errors of the network get a note with the shapes of its arguments."""
        # Clones: a first layer may work in place, and the inputs are needed again. (Expanded views raise an error by themselves.)
        arguments = _mapped(self.arguments, lambda _, tensor: tensor if 0 in tensor.stride() else tensor.clone())
        try:
            with adapted(model):
                if self.listed:
                    return model(list(arguments))
                if isinstance(arguments, dict):
                    return model(**arguments)
                return model(*arguments) if isinstance(arguments, tuple) else model(arguments)
        except CamtoolError:
            raise
        except Exception as error:
            shapes = ", ".join(f"{_named(place)}{tuple(tensor.shape)}" for place, tensor in _tensors(arguments))
            error.add_note(f"Raised by the network itself, called with {shapes}.")
            raise


def find_inputs(
    inputs: Any,
    name: Name = None,
    axes: str | Axes | None = None,
    per_sample: Collection[str | int | _Place] | None = None,
    output: OutputName = None,
) -> Inputs:
    """Return the inputs with the tensor at `name`: a key, a position, or several of these, outermost first.

    None: the only tensor that can be a picture: of floating point, with as many axes as `axes` has letters.

    Args:
        axes: letters of the tensor's axes, such as "ntchw"; None: n, c and one to three spatial axes, in this order.
        per_sample: names of the other inputs that belong to the samples, one part each; None: all that are as long as the batch.
        output: name of the part of the network's output that holds the scores; None: the whole.

    Raises:
        CamtoolError: if there is no such tensor, or several and no name, or if `axes` cannot be read.

    Example:
        >>> import torch
        >>> from camtool.instrumentation.inputs import find_inputs
        >>> find_inputs({"pixels": torch.zeros(1, 3, 8, 8), "mask": torch.zeros(1, 8)}).place
        ('pixels',)
        >>> find_inputs(torch.zeros(1, 16, 3, 8, 8), axes="ntchw").picture.shape
        torch.Size([1, 3, 16, 8, 8])
    """
    given = axes if axes is None or isinstance(axes, Axes) else Axes(axes)
    arguments = _mapped(inputs, lambda _, tensor: tensor)
    tensors = dict(_tensors(arguments))
    fitting = [place for place, tensor in tensors.items() if _axes_of(tensor, given)]
    if name is not None and not isinstance(inputs, Tensor):
        fitting = [place for place in tensors if place == name] or [place for place in tensors if place[-1] == name]
        if not fitting:
            raise CamtoolError(f"No input {name!r}; expected one of: {', '.join(map(_quoted, tensors)) or 'none, there is no tensor'}.")
    if len(fitting) > 1:
        raise CamtoolError(
            f"Several inputs can be the picture that the maps lie over: {', '.join(map(_quoted, fitting))}; name one by input=…."
        )
    own = _axes_of(tensors[fitting[0]], given) if fitting else None
    if own is None:
        tensor = next((tensors[place] for place in fitting or tensors), None)
        description = f"shape {tuple(tensor.shape)} of {tensor.dtype}" if tensor is not None else type(inputs).__name__
        expected = f"{given} of floating point" if given else "(n, c, *spatial) of floating point with one to three spatial axes"
        raise CamtoolError(f"Expected inputs {expected}, got {description}. Other axes are named by input_axes=…, such as 'ntchw' or 'nt'.")
    return Inputs(arguments, fitting[0], own, _batch_axes(tensors, fitting[0], own, per_sample), output)


def _batch_axes(
    tensors: Mapping[_Place, Tensor], place: _Place, axes: Axes, per_sample: Collection[str | int | _Place] | None
) -> dict[_Place, int]:
    """Return by place the first axis, or that of the maps' tensor, where it has the size of the batch."""
    batch = tensors[place].shape[axes.batch]
    found = {place: axes.batch}
    for other, tensor in tensors.items():
        for axis in (axes.batch, 0):  # the first axis wins: (n, 1) is no row of n numbers where n is 1
            if other != place and tensor.shape[axis : axis + 1] == (batch,):
                found[other] = axis
    if per_sample is None:
        return found
    chosen = {place}
    for name in per_sample:
        named = [other for other in tensors if other == name or name in other]
        if not named or any(other not in found for other in named):
            raise CamtoolError(
                f"Expected per_sample to name inputs with an axis of {batch}, the number of samples, got {name!r}; try some of: "
                f"{', '.join(_quoted(other) for other in found if other != place) or 'none, no other input has one'}."
            )
        chosen.update(named)
    return {other: axis for other, axis in found.items() if other in chosen}


def _axes_of(tensor: Tensor, given: Axes | None) -> Axes | None:
    """Return the axes of a tensor that can be a picture: those given, else n, c, spatial; None if it can be none."""
    axes = given or default_axes(tensor.ndim)
    fits = axes is not None and tensor.is_floating_point() and tensor.ndim == len(axes.letters) and 0 not in tensor.shape
    return axes if fits else None


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
