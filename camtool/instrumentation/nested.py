"""Tensors in nested tuples, lists, dicts and dataclasses: iteration, mapping, replacement."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Yield the floating-point tensors in nested tuples, lists, dicts and dataclasses, outermost first."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors_in(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from tensors_in(value)
    elif _is_dataclass(output):
        for part in dataclasses.fields(output):
            yield from tensors_in(getattr(output, part.name))


def mapped(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a copy of `output` with `change` applied to every tensor in nested tuples, lists, dicts and dataclasses."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, Mapping):
        changed = copy.copy(output)
        for key, value in output.items():
            changed[key] = mapped(value, change)  # type: ignore[index]  # dicts and their kin
        return changed
    if isinstance(output, (tuple, list)):
        values = [mapped(value, change) for value in output]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
    if _is_dataclass(output):
        changed = copy.copy(output)  # dataclasses.replace would run __post_init__ again
        for part in dataclasses.fields(output):
            object.__setattr__(changed, part.name, mapped(getattr(output, part.name), change))
        return changed
    return output


def _is_dataclass(output: Any) -> bool:
    return dataclasses.is_dataclass(output) and not isinstance(output, type)


def replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    """Return a copy of `output` with its tensor `old` replaced by `new`, as a hook may return it."""
    return mapped(output, lambda tensor: new if tensor is old else tensor)
