"""Inputs of a network whose axes the network itself tells: those of transformers have conventions of their own.

A spectrogram (n, time, frequency) or a clip (n, frames, c, h, w) has as many axes as (n, c, length) or (n, c, depth, height, width), so
that nothing in a wrong map would show that they were confused.
"""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from camtool.axes import Axes, axes_in_transformers
from camtool.errors import CamtoolError
from camtool.instrumentation.calls import ThreadHook
from camtool.instrumentation.copies import with_own_samples
from camtool.instrumentation.inputs import Inputs, Name, find_inputs
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.traversal import modules_of
from camtool.targets import OutputName


class _Argument(NamedTuple):
    """A tensor of floating point among a call's arguments."""

    name: str
    """As the network calls it."""
    place: str | int
    """As `find_inputs` does."""
    tensor: Tensor


class _Reached(BaseException):
    """Ends a forward pass at the network inside; no Exception, which a network may catch."""


def network_inputs(
    model: nn.Module,
    inputs: Any,
    name: Name = None,
    axes: str | Axes | None = None,
    per_sample: Collection[Any] | None = None,
    output: OutputName = None,
) -> Inputs:
    """Return the inputs with the tensor at `name` (as `find_inputs`) and its axes: `axes`, else those the network is known to take.

    A list of pictures for a network that takes one, as torchvision's detectors, is a batch.

    Other inputs belong to the samples, one part each, as `per_sample` (as `find_inputs`) says, else as the network's own scores show.

    `output` names the part of the network's output that holds the scores.

    Known are the inputs of networks of transformers, also inside another module that hands them on, as they are or normalised. All
    others have the axes n, c, spatial.

    Raises:
        CamtoolError: if there is no such tensor, or several; or if a network of transformers takes an input whose axes are not known.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.instrumentation.network_inputs import network_inputs
        >>> network_inputs(nn.Conv1d(3, 2, 1), torch.zeros(2, 3, 8)).axes.letters
        'ncw'
    """
    stacked = _stacked(model, inputs)
    if stacked is not None:
        return replace(find_inputs(stacked, None, axes, output=output), listed=True)
    found = replace(_found(model, inputs, name, axes), output=output)
    if per_sample is not None:
        return find_inputs(inputs, found.place, found.axes, per_sample, output)
    return with_own_samples(model, found)


def _stacked(model: nn.Module, inputs: Any) -> Tensor | None:
    """Return the batch (n, c, *spatial) of a list of pictures for a network that takes such a list, as detectors do; None for others.

    Raises:
        CamtoolError: if the pictures differ in size.
    """
    if not (
        isinstance(inputs, list)
        and inputs
        and all(isinstance(item, Tensor) and item.ndim in (2, 3, 4) for item in inputs)
        and _takes_list(model)
    ):
        return None
    shapes = list(dict.fromkeys(tuple(picture.shape) for picture in inputs))
    if len(shapes) > 1:
        raise CamtoolError(
            f"Expected pictures of one size, whose maps are a batch, got {', '.join(map(str, shapes[:4]))}; try one at a time: [picture]."
        )
    return torch.stack(inputs)


def _takes_list(model: nn.Module) -> bool:
    if any(type(part).__name__ == "GeneralizedRCNNTransform" for part in modules_of(model)):  # of torchvision's detectors
        return True
    first = next(iter(inspect.signature(model.forward).parameters.values()), None)
    return first is not None and bool(re.match(r"(typing\.)?(list|sequence)\[[\w.]*tensor\]", str(first.annotation), re.IGNORECASE))


def _found(model: nn.Module, inputs: Any, name: Name, axes: str | Axes | None) -> Inputs:
    if axes is not None:
        return find_inputs(inputs, name, axes)
    if _is_of_transformers(model):
        return _of_transformers(model, inputs, name)
    found = find_inputs(inputs, name)
    if found.picture.ndim == 4:  # pictures have the axes n, c, spatial in transformers, too
        return found
    inner = next(filter(_is_of_transformers, modules_of(model)), None)
    if inner is None:
        return found
    argument = _handed_on(model, inner, found)
    return found if argument is None else find_inputs(inputs, name, _known(inner, argument))


def _of_transformers(model: nn.Module, inputs: Any, name: Name) -> Inputs:
    place = name[-1] if isinstance(name, tuple) and name else name
    arguments = [argument for argument in _arguments(model, inputs) if place in (None, argument.place) or isinstance(inputs, Tensor)]
    known = [argument for argument in arguments if _axes(model, argument)]
    chosen = [argument for argument in known if argument.name == model.main_input_name] or known
    if len(chosen) == 1:
        return find_inputs(inputs, chosen[0].place, _axes(model, chosen[0]))
    found = find_inputs(inputs, name)
    if found.picture.ndim != 4:
        for argument in arguments:
            if argument.tensor.shape == found.picture.shape:
                _known(model, argument)
    return found


def _known(model: nn.Module, argument: _Argument) -> Axes:
    axes = _axes(model, argument)
    if axes is None:
        raise CamtoolError(
            f"The axes of {argument.name} {tuple(argument.tensor.shape)} of {type(model).__name__}, a network of transformers, are not "
            "known; name them by input_axes=…: n for the batch, c for the channels, another letter for each spatial axis, such as 'nct', "
            "'ntc' or 'ntf'."
        )
    return axes


def _axes(model: nn.Module, argument: _Argument) -> Axes | None:
    known = axes_in_transformers(str(getattr(model.config, "model_type", "")), argument.name)
    return next((axes for axes in known if len(axes.letters) == argument.tensor.ndim), None)


def _is_of_transformers(model: nn.Module) -> bool:
    main, config = getattr(model, "main_input_name", None), getattr(model, "config", None)
    return isinstance(main, str) and isinstance(getattr(config, "model_type", None), str)


def _arguments(model: nn.Module, inputs: Any) -> Iterator[_Argument]:
    """Yield the tensors of floating point among a call's arguments, by the network's names for them."""
    if isinstance(inputs, Mapping):
        named: list[tuple[str | int, str, Any]] = [(key, key, value) for key, value in inputs.items()]
    else:
        values = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [name for name, parameter in inspect.signature(model.forward).parameters.items() if parameter.kind in kinds]
        names = names or [str(model.main_input_name)]  # one with adapters hands on whatever it gets
        named = [(place, name, value) for place, (name, value) in enumerate(zip(names, values, strict=False))]
    for place, name, value in named:
        if isinstance(value, Tensor) and value.is_floating_point():
            yield _Argument(name, place, value)


def _handed_on(model: nn.Module, inner: nn.Module, inputs: Inputs) -> _Argument | None:
    """Return the argument of the network inside that is the picture, perhaps normalised; None if it gets none, or turns it."""
    picture = inputs.picture
    place = tuple(axis % size for axis, size in enumerate(picture.shape))  # axes of the same size are told apart
    disturbed = picture.clone()
    disturbed[place] += 1 + picture.abs().amax()
    for before, after in zip(_received(model, inner, inputs), _received(model, inner, inputs.with_picture(disturbed)), strict=False):
        if before.tensor.shape == after.tensor.shape == picture.shape:
            change = (after.tensor - before.tensor).abs()
            if change[place] > 0 and change[place] == change.amax():
                return before
    return None


def _received(model: nn.Module, inner: nn.Module, inputs: Inputs) -> list[_Argument]:
    """Return what the network inside is called with; the forward pass ends there."""
    received: list[_Argument] = []

    def keep(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        received.extend((*_arguments(inner, arguments), *_arguments(inner, keywords)))
        raise _Reached

    handle = inner.register_forward_pre_hook(ThreadHook(keep), with_kwargs=True)
    try:
        with evaluating(model), torch.no_grad():
            inputs.run(model)
    except _Reached:
        pass
    finally:
        handle.remove()
    return received
