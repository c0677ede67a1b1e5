"""Class names and probabilities of a classifier."""

import re
from collections.abc import Sequence

from torch import Tensor

from camtool.errors import TargetError, closest


def fitting_names(known: Sequence[tuple[Sequence[str] | None, str]], classes: int) -> tuple[list[str] | None, str]:
    """Return (names, remark) from (names, owner) in order of trust: None and why where the first names known are not `classes`."""
    for names, owner in known:
        if names is None:
            continue
        if len(names) == classes:
            return list(names), ""
        return None, f"the {owner} names {len(names)} classes, the network has {classes}: indices are shown instead of names"
    return None, f"neither {' nor '.join(owner for _, owner in known)} names the classes: indices are shown"


def find_class(wanted: str, names: Sequence[str] | None, classes: int) -> int:
    """Return the index that `wanted` means: an index, a whole class name, or one of its comma-separated synonyms, in any case.

    Raises:
        TargetError: if there is none (the message has the nearest names), or several (it lists their indices).
    """
    text = wanted.strip()
    if re.fullmatch(r"[+-]?\d+", text):
        index = int(text)
        if not 0 <= index < classes:
            raise TargetError(f"Class index {index} is out of range: the network has {classes} classes, 0 to {classes - 1}.")
        return index
    if names is None:
        raise TargetError(f"Class '{wanted}': this network's classes have no names; give an index, 0 to {classes - 1}.")
    folded = text.casefold()
    whole = [index for index, name in enumerate(names) if name.casefold() == folded]
    found = whole or [index for index, name in enumerate(names) if folded in [part.strip() for part in name.casefold().split(",")]]
    if not found:
        synonyms = [part.strip() for name in names for part in name.split(",")]
        raise TargetError(f"No class '{wanted}'{closest(wanted, synonyms)}.")
    if len(found) > 1:
        listed = ", ".join(f"{index} ({names[index]})" for index in found)
        raise TargetError(f"Class name '{wanted}' is ambiguous; give one of the indices: {listed}.")
    return found[0]


def short_name(name: str) -> str:
    """Return the first of a name's comma-separated synonyms."""
    return name.split(",", maxsplit=1)[0].strip()


def label(index: int, names: Sequence[str] | None) -> str:
    """Return "tabby cat (281)", or "class 281" where it has no name."""
    return f"{short_name(names[index])} ({index})" if names and index < len(names) else f"class {index}"


def probabilities(logits: Tensor, *, decides_each_class: bool = False) -> tuple[Tensor, str]:
    """Return (probabilities in [0, 1] shaped like `logits` (n, classes), "softmax" or "sigmoid").

    Sigmoid for heads that decide on each class by itself, and for a single logit.
    """
    logits = logits.float()
    if logits.shape[-1] == 1 or decides_each_class:
        return logits.sigmoid(), "sigmoid"
    return logits.softmax(dim=-1), "softmax"
