"""What a method's maps cost, told before they are begun."""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor

from camtool.attribution.augmentation import COPIES
from camtool.attribution.context import CallContext
from camtool.layouts import Layout

MANY = 100
"""Passes of the network for one map that are told of."""

Announce: TypeAlias = Callable[[str, int, float], None]
"""`announce(method, passes, seconds)`: forward passes for one map of a picture, and the estimated time of all maps of the call."""


def announce_costs(context: CallContext, captured: Mapping[str, tuple[Tensor, Layout]], targets: int, seconds: float) -> None:
    """Call the context's `announce` for each method that takes more than MANY passes for a map; once in a call.

    Args:
        captured: activations and layout of the target layers by path.
        targets: number of targets of each sample.
        seconds: time of a forward pass of one sample.
    """
    if context.announce is None or "costs" in context.checked:
        return
    context.checked.add("costs")
    size = context.inputs.picture.shape[2:]
    shapes = [layout.to_maps(activations.detach(), size).shape for activations, layout in captured.values()]
    copies = COPIES if context.aug_smooth else 1
    layers = [(shape[1], math.prod(shape[2:])) for shape in shapes]
    for name, method in {**context.layer_methods, **context.input_methods}.items():
        read = layers if name in context.layer_methods else [(0, 0)]
        passes = copies * sum(method.further_passes(channels, cells, size) for channels, cells in read)
        if passes > MANY:
            runs = len(context.inputs.picture) * (1 if method.needs.same_queries_for_all_targets else targets)
            context.announce(name, passes, passes * runs * seconds)
