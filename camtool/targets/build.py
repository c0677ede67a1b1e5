"""Targets by name and from config dicts: with a class index to be chosen later, or complete."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from camtool.errors import TargetError
from camtool.registry import TARGETS, build, find, names
from camtool.targets._base import Target

TargetFactory: TypeAlias = Callable[[int], Target]
"""A callable from a class index to its target."""


def target_names() -> list[str]:
    """Return the command-line name of every registered target, a user's own included, sorted.

    Example:
        >>> from camtool.targets import target_names
        >>> target_names()[:3]
        ['binary', 'box', 'contrast']
    """
    return names(TARGETS)


def find_target(name: str) -> type:
    """Return the class that `name` means: any case, `probability` and `ClassProbability` alike.

    Raises:
        TargetError: if there is none; the message has the nearest names and all of them.

    Example:
        >>> from camtool.targets import find_target
        >>> find_target("probability").__name__
        'ClassProbability'
    """
    return find(TARGETS, name, error=TargetError)


def build_target(spec: str | Mapping[str, Any] | Target) -> Target:
    """Return the target that a complete config dict describes: `dict(type='BoxScore', box=[10, 20, 90, 80], label=1)`.

    Raises:
        TargetError: if the type is unknown, or a keyword is missing or not one of its own.

    Example:
        >>> from camtool.targets import build_target
        >>> build_target({"type": "ClassContrast", "index": 0, "against": 2})
        ClassContrast(0, against=2)
    """
    return build(TARGETS, spec, error=TargetError)


def build_target_factory(spec: str | Mapping[str, Any]) -> TargetFactory:
    """Return the function from a class index to the target that a name or a config dict (`dict(type='FinerScore', alpha=1.0)`) describes.

    Raises:
        TargetError: if the type is unknown, or a keyword is missing or not one of its own.

    Example:
        >>> from camtool.targets import build_target_factory
        >>> target_of = build_target_factory({"type": "ClassContrast", "against": 2})
        >>> target_of(0), target_of(1)
        (ClassContrast(0, against=2), ClassContrast(1, against=2))
    """
    return build(TARGETS, spec, error=TargetError, later=(0,))


def chooses_no_class(spec: str | Mapping[str, Any]) -> bool:
    """Return whether a target needs no chosen class: its first parameter is not `index`, or its spec has a value for it.

    Raises:
        TargetError: if the type is unknown.

    Example:
        >>> from camtool.targets import chooses_no_class
        >>> chooses_no_class("logit"), chooses_no_class({"type": "logit", "index": 3}), chooses_no_class("box")
        (False, True, True)
    """
    settings: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    first = next(iter(inspect.signature(find_target(str(settings.get("type")))).parameters), "")
    return first != "index" or first in settings
