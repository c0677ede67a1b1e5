"""Into how many patches a network cuts a signal: how many of the tokens behind are positions."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camtool.instrumentation.calls import ThreadHook
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.randomness import SameRandomNumbers

_CUTTING = (nn.Conv1d, nn.Conv2d, nn.Linear)


def patch_counts(model: nn.Module, inputs: Inputs) -> set[int]:
    """Return the numbers of positions that layers make of a signal; one pass of the network, none if the input is no signal.

    They are those of convolutions, to one axis of positions, and of linear layers over (n, patches, values), whose input has as many
    values as the signal, or as the output of such a layer: nothing has been added to it yet, nor left out.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.instrumentation.inputs import find_inputs
        >>> from camtool.instrumentation.patch_counts import patch_counts
        >>> stem = nn.Conv1d(1, 4, 4, stride=4), nn.ReLU(), nn.Conv1d(4, 8, 2, stride=2)
        >>> model = nn.Sequential(*stem, nn.MaxPool1d(2), nn.Conv1d(8, 8, 3))
        >>> sorted(patch_counts(model, find_inputs(torch.zeros(1, 1, 136))))
        [17, 34]
    """
    sizes, found = {inputs.picture.numel()}, set[int]()
    layers = {module for module in model.modules() if isinstance(module, _CUTTING)}
    if not layers or inputs.picture.ndim != 3:
        return found

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        given = arguments[0] if arguments else None
        if not isinstance(given, Tensor) or not isinstance(output, Tensor) or given.numel() not in sizes:
            return
        lengths = output.shape[1:-1] if isinstance(module, nn.Linear) else output.shape[2:]
        long = [length for length in lengths if length > 1]
        if len(long) == 1:
            found.update(long)
            sizes.add(output.numel())

    with ExitStack() as stack, evaluating(model), torch.no_grad():
        for layer in layers:
            stack.callback(layer.register_forward_hook(ThreadHook(note)).remove)
        SameRandomNumbers(inputs.picture.device, 0)(partial(inputs.run, model))
    return found
