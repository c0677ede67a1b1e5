"""Kinds of target: what is asked of each class that is chosen, by name or from a config."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from camtool.errors import TargetError, closest
from camtool.registry import TARGETS
from camtool.targets._base import Target

Kind: TypeAlias = Callable[[int], Target]
"""Turns a class index into its target."""


def kind_names() -> list[str]:
    """Return the command-line name of every registered kind, a user's own included, sorted."""
    return sorted(map(_name, TARGETS.module_dict.values()))


def find_kind(name: str) -> type:
    """Return the class that `name` means: any case, `probability` and `ClassProbability` alike.

    Raises:
        TargetError: if there is none; the message has the nearest names and all of them.
    """
    for key, target_class in TARGETS.module_dict.items():
        if name.casefold() in (key.casefold(), _name(target_class).casefold()):
            return target_class
    names = kind_names()
    raise TargetError(f"Unknown target '{name}'{closest(name, names)}; expected one of: {', '.join(names)}.")


def build_kind(spec: str | dict[str, Any]) -> Kind:
    """Return what turns a class index into the target that a name or a config dict (`dict(type='FinerScore', alpha=1.0)`) describes.

    Raises:
        TargetError: if the type is unknown, or a keyword is missing or not one of its own.
    """
    arguments = {"type": spec} if isinstance(spec, str) else dict(spec)
    if "type" not in arguments:
        raise TargetError(f"A target is a name or a dict with 'type', got {spec!r}.")
    target_class = find_kind(str(arguments.pop("type")))
    try:
        inspect.signature(target_class).bind(0, **arguments)
    except TypeError as error:
        raise TargetError(f"Target '{_name(target_class)}': {error}.") from error
    return partial(target_class, **arguments)


def _name(target_class: type) -> str:
    return getattr(target_class, "name", target_class.__name__.casefold())
