"""Rename the keys of a checkpoint: by the rules of a config, and by the usual prefixes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

from camtool.errors import CheckpointError

Value = TypeVar("Value")

PREFIXES = ("module.", "model.")


def map_keys(state: Mapping[str, Value], rules: Sequence[Any]) -> dict[str, Value]:
    """Return `state` with each key rewritten by every (regular expression, replacement) rule in turn.

    Raises:
        CheckpointError: if two keys become the same, or a rule is not of this form.

    Example:
        >>> import torch
        >>> list(map_keys({"fc.weight": torch.zeros(2, 3)}, [(r"^fc\\.", "head.fc.")]))
        ['head.fc.weight']
    """
    try:
        compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
        mapped: dict[str, Value] = {}
        for key, value in state.items():
            new = key
            for pattern, replacement in compiled:
                new = pattern.sub(replacement, new)
            if new in mapped:
                raise CheckpointError(
                    f"cam.checkpoint_keys maps several keys to '{new}', '{key}' among them; expected a different name for each."
                )
            mapped[new] = value
    except (re.error, TypeError, ValueError) as error:
        raise CheckpointError(f"cam.checkpoint_keys must be a list of (regular expression, replacement): {error}.") from error
    return mapped


def usual_names(state: Mapping[str, Tensor], rules: Sequence[Any]) -> list[Mapping[str, Tensor]]:
    """Return `state` with and without the `rules` of `map_keys`, and each with the prefix `model.` or `module.` removed or added."""
    bare = without_common_prefixes(state)
    plain = [bare, *(_without(prefix, bare) for prefix in PREFIXES)]
    renamed = [*(map_keys(candidate, rules) for candidate in plain), *plain] if rules else plain  # one saved from this network needs none
    return [*renamed, *({f"{prefix}{key}": value for key, value in candidate.items()} for prefix in PREFIXES for candidate in renamed)]


def without_common_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` without the prefixes of wrappers that all its keys have."""
    state = dict(state)
    while prefix := next((prefix for prefix in (*PREFIXES, "_orig_mod.") if all(key.startswith(prefix) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _without(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` with the prefix removed from keys that have it; these replace other keys of the same name."""
    others = {key: value for key, value in state.items() if not key.startswith(prefix)}
    return {**others, **{key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}}
