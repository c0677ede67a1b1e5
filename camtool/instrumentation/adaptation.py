"""Adaptation: what a network needs for one forward pass that may be differentiated; nothing of it stays behind.

Wrappers for training on several devices are passed by, since what they do at each pass belongs to the training (DistributedDataParallel
prepares its next backward pass, and waits for other processes). Tensors that were made in inference mode, as a detector's cached anchors,
are exchanged for copies that can join a graph. Recurrent layers and checkpoints: see `recurrent` and `checkpointing`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from camtool.instrumentation.calls import Changes
from camtool.instrumentation.checkpointing import without_reentrant_checkpoints
from camtool.instrumentation.kept import tensors_on
from camtool.instrumentation.nested import mapped
from camtool.instrumentation.place import Place
from camtool.instrumentation.recurrent import TrainableRecurrence


@contextmanager
def adapted(model: nn.Module) -> Iterator[None]:
    """Let the network be run and differentiated inside the block; its outputs may be differentiated behind it, too."""
    with Changes() as changes, without_reentrant_checkpoints(), ExitStack() as mode:
        recurrent = False
        for module in model.modules():
            recurrent = recurrent or isinstance(module, nn.RNNBase)
            if isinstance(module, (DataParallel, DistributedDataParallel)):
                changes.replace_forward(module, _inner(module))
            for container, key, value in tensors_on(module):
                if isinstance(value, tuple) or (value.is_inference() and not isinstance(value, nn.Parameter)):
                    usable = mapped(value, _usable)
                    if not _same(usable, value):
                        changes.put(Place(container, key), usable)
        if recurrent:  # a mode costs a little at each function call
            mode.enter_context(TrainableRecurrence())
        yield


def _inner(wrapper: Any) -> Callable[..., Any]:
    """Return the forward of the wrapped network on the wrapper's first device."""

    def forward(*arguments: Any, **keywords: Any) -> Any:
        devices: Any = wrapper.device_ids or []
        if devices:
            device = torch.device(wrapper.device_type, devices[0]) if isinstance(devices[0], int) else torch.device(devices[0])
            arguments, keywords = mapped((arguments, keywords), lambda tensor: tensor.to(device))
        return wrapper.module(*arguments, **keywords)

    return forward


def _usable(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def _same(one: Any, other: Any) -> bool:
    """Return whether nested values hold the very same tensors."""
    if isinstance(one, (tuple, list)):
        return all(map(_same, one, other))
    if isinstance(one, dict):
        return all(_same(one[key], other[key]) for key in one)
    return not isinstance(one, Tensor) or one is other
