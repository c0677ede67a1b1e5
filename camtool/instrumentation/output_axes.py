"""Which axis of a network's output is that of its input's positions, measured: frames of a signal in (n, t, classes) or (n, classes, t)."""

from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.responses import Sketches, measure_responses, sketched
from camtool.layouts.localisation import Localisation, Responses, weighted_correlation
from camtool.layouts.measured import CERTAIN, UNREST
from camtool.targets import scores_in

_OWN = 0.6  # of the spread of elements that look nowhere but at their own part; measured: 0.6 to 1 of frames, 0.3 of classes
_STRENGTHS = (1.0, 100.0)  # of the noise: a second, stronger one where the first decides nothing

_KNOWN: "WeakKeyDictionary[nn.Module, dict[tuple[object, ...], int | None]]" = WeakKeyDictionary()


def frame_axis(model: nn.Module, inputs: Inputs) -> int | None:
    """Return the axis of an output (n, a, b) whose elements look at the input's positions one after the other, 1 or 2.

    Returns None where the output has other axes, or neither or both look so. Measured once by some ten passes of the first sample, and
    kept beside the network for inputs of this size.

    Example:
        >>> from camtool.instrumentation.network_inputs import network_inputs
        >>> model = nn.Conv1d(1, 3, 5, stride=5).eval()
        >>> frame_axis(model, network_inputs(model, torch.randn(1, 1, 100)))
        2
    """
    known = _KNOWN.setdefault(model, {})
    key = (tuple(inputs.picture.shape[1:]), inputs.place, str(inputs.output))
    if key not in known:
        known[key] = _measured(model, inputs.first_sample())
    return known[key]


def _measured(model: nn.Module, inputs: Inputs) -> int | None:
    places = [place for place, length in enumerate(inputs.picture.shape[2:]) if length > 1]
    for strength in _STRENGTHS:
        tensors = measure_responses(model, inputs, partial(_scores, model), strength=strength)[""]
        if len(tensors) != 1 or len(tensors[0].shape) != 3 or not places:
            return None
        if tensors[0].unrest_share() > UNREST:
            return None
        found = [axis for axis in (1, 2) if _looks_in_order(tensors[0], axis, places[-1])]  # of channels as rows, time is the last
        if len(found) == 1:
            return found[0]
    return None


def _looks_in_order(responses: Responses, axis: int, place: int) -> bool:
    """Return whether each element of an axis looks at a part of the input of its own, the next one further on."""
    if responses.shape[axis] == 1:
        return False
    for kind in (responses.by_axis, responses.own):
        found = Localisation([kind[axis][place]], [responses.by_axis[axis][place]])
        order = torch.arange(found.length, dtype=torch.float32, device="cpu")
        most = min(found.length, kind[axis][place].shape[1]) - 1  # of elements that look nowhere else
        # The order alone may be chance for a few classes, which look at nearly the same.
        if found.spread >= _OWN * most and weighted_correlation(found.centres(0), order, found.weights) >= CERTAIN:
            return True
    return False


def _scores(model: nn.Module, inputs: Inputs) -> Sketches:
    output = scores_in(inputs.run(model), batch=len(inputs.picture))
    return {"": [sketched(output)] if isinstance(output, Tensor) else []}
