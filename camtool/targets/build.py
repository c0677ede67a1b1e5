"""Targets by name and from config dicts: one for each class that is chosen, or one that says by itself what it explains."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from camtool.errors import TargetError
from camtool.registry import TARGETS, build, find, names
from camtool.targets._base import Target

TargetFactory: TypeAlias = Callable[[int], Target]
"""Turns a class index into its target."""


def target_names() -> list[str]:
    """Return the command-line name of every registered target, a user's own included, sorted."""
    return names(TARGETS)


def find_target(name: str) -> type:
    """Return the class that `name` means: any case, `probability` and `ClassProbability` alike.

    Raises:
        TargetError: if there is none; the message has the nearest names and all of them.
    """
    return find(TARGETS, name, error=TargetError)


def build_target(spec: str | Mapping[str, Any] | Target) -> Target:
    """Return the target that a config dict describes whole: `dict(type='BoxScore', box=[10, 20, 90, 80], label=1)`.

    Raises:
        TargetError: if the type is unknown, or a keyword is missing or not one of its own.
    """
    return build(TARGETS, spec, error=TargetError)


def build_target_factory(spec: str | Mapping[str, Any]) -> TargetFactory:
    """Return what turns a class index into the target that a name or a config dict (`dict(type='FinerScore', alpha=1.0)`) describes.

    Raises:
        TargetError: if the type is unknown, or a keyword is missing or not one of its own.
    """
    return build(TARGETS, spec, error=TargetError, later=(0,))


def chooses_no_class(spec: str | Mapping[str, Any]) -> bool:
    """Return whether a target says by itself what it explains: it does not begin with a class's `index`, or that is given.

    Raises:
        TargetError: if the type is unknown.
    """
    settings: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    first = next(iter(inspect.signature(find_target(str(settings.get("type")))).parameters), "")
    return first != "index" or first in settings
