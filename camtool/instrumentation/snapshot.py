"""Snapshot: what a network computes with, so that a copy of it knows when it is out of date."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from camtool.instrumentation.traversal import modules_of

_DEPTH = 5
"""Of containers and objects inside a module's attributes, such as a config."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_OPAQUE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, torch.Generator)
_MODES = {"training"}
"""A copy stays in eval mode."""


class Snapshot:
    """Weights, modules, attributes and hooks of a network, and the target layers, at one time.

    Plain attributes are compared by value, also inside lists, dicts and objects such as a config; tensors by their memory and version;
    hooks, functions and whatever else is opaque by identity. What a function outside of the network reads is not seen.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.snapshot import Snapshot
        >>> model = nn.BatchNorm2d(3)
        >>> snapshot = Snapshot(model, [""])
        >>> before, model.eps = snapshot.holds([""]), 0.1
        >>> before, snapshot.holds([""])
        (True, False)
    """

    def __init__(self, model: nn.Module, layers: Sequence[str] | None) -> None:
        self._model = model
        self._kept: list[Any] = []
        """What is compared by identity, so that no other object gets its id()."""
        self._state = None if layers is None else self._taken(layers, self._kept)

    def holds(self, layers: Sequence[str]) -> bool:
        """Return whether the network and the layers are still the same; False for a snapshot without layers."""
        return self._state is not None and self._state == self._taken(layers, [])

    def _taken(self, layers: Sequence[str], kept: list[Any]) -> Any:
        modules = modules_of(self._model)
        kept.extend(modules)
        return tuple(layers), [(id(module), type(module), _described(_attributes(module), kept, 0)) for module in modules]


def _attributes(module: nn.Module) -> dict[str, Any]:
    # Not by a value's truth: a tensor has none, a scripted module has no length.
    return {name: value for name, value in vars(module).items() if name not in _MODES and not (name.endswith("_hooks") and value == {})}


def _described(value: Any, kept: list[Any], depth: int) -> Any:
    """Return something equal for equal values; objects that are compared by identity are added to `kept`."""
    if isinstance(value, _PLAIN):
        return (type(value), repr(value))  # NaN equals itself, True is not 1
    if isinstance(value, Tensor):
        version = None if value.is_inference() else value._version
        return (value.data_ptr() if value.layout == torch.strided else id(value), version, value.shape, value.dtype)
    if depth < _DEPTH and not isinstance(value, (nn.Module, *_OPAQUE)):
        if isinstance(value, Mapping):
            return (type(value), [(_described(key, kept, depth + 1), _described(item, kept, depth + 1)) for key, item in value.items()])
        if isinstance(value, (list, tuple)):
            return (type(value), [_described(item, kept, depth + 1) for item in value])
        if isinstance(value, AbstractSet):
            return (type(value), frozenset(map(repr, value)))
        if hasattr(value, "__dict__") and not callable(value):
            kept.append(value)
            return (id(value), _described(vars(value), kept, depth + 1))
    kept.append(value)
    return (type(value), id(value))
