"""Requirements on scores: "energy >= 0.5"."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from camtool.errors import DataError

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*([\w-]+)\s*(>=|<=|>|<)\s*([-+.\deE]+)\s*")


@dataclass(frozen=True)
class Requirement:
    """What a metric's score must be."""

    metric: str
    comparison: str
    """One of >=, <=, > and <."""
    bound: float

    def holds(self, score: float) -> bool:
        """Return whether a score is as required; one that is NaN never is."""
        return _COMPARISONS[self.comparison](score, self.bound)

    def __str__(self) -> str:
        return f"{self.metric} {self.comparison} {self.bound:g}"


def parse_requirement(text: str) -> Requirement:
    """Return what a text requires.

    Raises:
        DataError: if it is not METRIC, a comparison, and a finite number.

    Example:
        >>> from camtool.evaluation import parse_requirement
        >>> requirement = parse_requirement("energy >= 0.5")
        >>> requirement.metric, requirement.holds(0.5), requirement.holds(0.49)
        ('energy', True, False)
    """
    form = _FORM.fullmatch(text)
    try:
        if form is None:
            raise ValueError
        bound = float(form[3])
        if not math.isfinite(bound):
            raise ValueError
    except ValueError:
        raise DataError(f"Expected a requirement such as 'energy >= 0.5', got '{text}'; comparisons are >=, <=, > and <.") from None
    return Requirement(form[1], form[2], bound)
