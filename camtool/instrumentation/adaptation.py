"""Adaptation: what a network needs for one forward pass that may be differentiated; nothing of it stays behind.

Wrappers for training on several devices are passed by, since what they do at each pass belongs to the training (DistributedDataParallel
prepares its next backward pass, and waits for other processes). Tensors that were made in inference mode, as a detector's cached anchors,
are exchanged for copies that can join a graph. Recurrent layers and checkpoints: see `recurrent` and `checkpointing`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from camtool.instrumentation.calls import Changes
from camtool.instrumentation.checkpointing import without_reentrant_checkpoints
from camtool.instrumentation.kept import keeps_weights_only, tensors_on
from camtool.instrumentation.nested import mapped
from camtool.instrumentation.place import Place
from camtool.instrumentation.recurrent import TrainableRecurrence
from camtool.instrumentation.traversal import modules_of


@contextmanager
def adapted(model: nn.Module) -> Iterator[None]:
    """Let the network be run and differentiated inside the block; its outputs may be differentiated behind it, too."""
    with Changes() as changes, without_reentrant_checkpoints(), ExitStack() as mode:
        modules = modules_of(model)
        kinds = set(map(type, modules))  # a few; asking every module takes longer, since DistributedDataParallel has an abstract base
        wrappers = {kind for kind in kinds if issubclass(kind, (DataParallel, DistributedDataParallel))}
        for module in modules:
            if type(module) in wrappers:
                changes.replace_forward(module, _inner(module))
            for container, key, value in () if keeps_weights_only(module) else tensors_on(module):
                if _of_inference(value) and not isinstance(value, nn.Parameter):
                    changes.put(Place(container, key), mapped(value, _usable))
        if any(issubclass(kind, nn.RNNBase) for kind in kinds):  # a mode costs a little at each function call
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


def _of_inference(value: Any) -> bool:
    """Return whether a value is, or has in it, a tensor that was made in inference mode."""
    if isinstance(value, Tensor):
        return value.is_inference()
    if isinstance(value, (tuple, list)):
        return any(map(_of_inference, value))
    if isinstance(value, Mapping):
        return any(map(_of_inference, value.values()))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    return any(_of_inference(getattr(value, part.name)) for part in dataclasses.fields(value))


def _usable(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor
