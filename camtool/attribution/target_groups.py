"""Groups of methods that explain the same targets: those of the call, or a method's own."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from camtool.methods import BaseMethod
from camtool.targets import Output, Target, resolve_targets


@dataclass
class TargetGroup:
    """Targets, n lists of k, and the methods of target layers that explain them."""

    targets: list[list[Target]]
    methods: dict[str, BaseMethod]


def group_targets(
    methods: Mapping[str, BaseMethod],
    targets: list[list[Target]],
    logits: Output,
    skip_unfit: Callable[[str], AbstractContextManager[Any]],
) -> list[TargetGroup]:
    """Return the methods grouped by their targets; the group of the call's own has `targets` itself.

    Args:
        skip_unfit: returns for a method's name the context in which it may refuse.
    """
    groups: list[TargetGroup] = []
    for name, method in methods.items():
        own_targets: list[list[Target]] = []
        with skip_unfit(name):
            own_targets = [[method.target(target) for target in row] for row in targets]
        if not own_targets:
            continue
        pairs = [pair for rows in zip(own_targets, targets, strict=True) for pair in zip(*rows, strict=True)]
        unchanged = all(own_target is target for own_target, target in pairs)
        group_of = targets if unchanged else resolve_targets(own_targets, logits)[0]
        group = next((group for group in groups if group.targets == group_of), None)
        if group is None:
            group = TargetGroup(group_of, {})
            groups.append(group)
        group.methods[name] = method
    return groups
