"""Class names, labels and probabilities of a classifier."""

import re
from collections.abc import Sequence

from torch import Tensor

from camtool.errors import TargetError, closest, some
from camtool.words import one_line, shortened

NAME = "name:"
"""Before a class's name that could be taken for something else."""


def fitting_names(known: Sequence[tuple[Sequence[str] | None, str]], classes: int) -> tuple[list[str] | None, str]:
    """Return (class names, "") of the first owner that has names; (None, reason) if their number is not `classes` or no owner has any.

    Args:
        known: (names or None, owner) in order of precedence; the owner ("checkpoint") is for the reason.
    """
    for names, owner in known:
        if names is None:
            continue
        if len(names) == classes:
            return list(names), ""
        return None, f"the {owner} names {len(names)} classes, the network has {classes}: indices are shown instead of names"
    return None, f"neither {' nor '.join(owner for _, owner in known)} names the classes: indices are shown"


def find_class(wanted: str, names: Sequence[str] | None, classes: int) -> int:
    """Return the index of a class given by index, name, one of the name's comma-separated synonyms, or words in one (case-insensitive).

    Behind "name:" everything is a name: a class may be called "7" or "all".

    Raises:
        TargetError: if no class matches (the message has the closest names), or several do (it lists their indices).

    Example:
        >>> find_class("Tabby", ["goldfish", "tabby, tabby cat"], 2)
        1
    """
    text = wanted.strip()
    is_name = text.startswith(NAME)
    text = text.removeprefix(NAME).strip()
    if not is_name and re.fullmatch(r"[+-]?\d+", text):
        index = int(text)
        if not 0 <= index < classes:
            raise TargetError(f"Class index {index} is out of range: the network has {classes} classes, 0 to {classes - 1}.")
        return index
    if names is None:
        raise TargetError(f"Class '{wanted}' is unknown: the classes of this network have no names. Give an index, 0 to {classes - 1}.")
    folded = text.casefold()
    lines = [one_line(name).casefold() for name in names]  # a name with a line break or an escape code is typed as it is shown
    exact = [index for index, line in enumerate(lines) if folded in (line, names[index].casefold())]
    matches = exact or [index for index, line in enumerate(lines) if folded in [part.strip() for part in line.split(",")]]
    if len(matches) > 1:
        listed = ", ".join(f"{index} ({shortened(one_line(names[index]))})" for index in matches)
        raise TargetError(f"Class name '{wanted}' is ambiguous; give one of the indices: {listed}.")
    return matches[0] if matches else _class_with_words(text or wanted, lines, names)


_MOST_CANDIDATES = 12


def _class_with_words(wanted: str, lines: Sequence[str], names: Sequence[str]) -> int:
    """Return the only class with these words in its name; TargetError if there is none, or if there are several."""
    word = re.compile(rf"(?<![^\W_]){re.escape(wanted.strip().casefold())}(?![^\W_])")
    synonyms = [part.strip() for name in names for part in name.split(",")]
    found = {index: next((part.strip() for part in line.split(",") if word.search(part)), "") for index, line in enumerate(lines)}
    found = {index: part for index, part in found.items() if part} if wanted.strip() else {}
    if not found:
        near = closest(wanted, synonyms)
        few = f"; expected one of: {', '.join(map(repr, map(short_name, names)))}" if len(names) <= _MOST_CANDIDATES else ""
        raise TargetError(f"No class '{wanted}'{near or few}.")
    if len(found) > 1:
        listed = some([f"{index} ({shortened(part)})" for index, part in found.items()], _MOST_CANDIDATES)
        raise TargetError(f"No class is called '{wanted}', but {len(found)} have it in their names; give one of the indices: {listed}.")
    return next(iter(found))


def short_name(name: str) -> str:
    r"""Return the first of the comma-separated synonyms of a class name, in one line and of at most 60 characters.

    Example:
        >>> short_name("red\n fox, Vulpes vulpes")
        'red fox'
    """
    return shortened(one_line(name.strip().split(",", maxsplit=1)[0]))


def label(index: int, names: Sequence[str] | None) -> str:
    """Return "tabby cat (281)"; "class 281" if the class has no name."""
    return f"{short_name(names[index])} ({index})" if names and index < len(names) else f"class {index}"


def probabilities(logits: Tensor, *, decides_each_class: bool = False) -> tuple[Tensor, str]:
    """Return (probabilities in [0, 1], shaped like `logits` (n, classes); "softmax" or "sigmoid").

    Args:
        decides_each_class: multi-label: apply a sigmoid to each logit. A single logit always gets a sigmoid.
    """
    logits = logits.float()
    if logits.shape[-1] == 1 or decides_each_class:
        return logits.sigmoid(), "sigmoid"
    return logits.softmax(dim=-1), "softmax"
