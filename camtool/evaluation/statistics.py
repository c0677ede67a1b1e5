"""Statistics over scores: means with bootstrap intervals, in all and by class, and paired tests of methods."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from jaxtyping import Float

RESAMPLES = 1000
CONFIDENCE = 0.95
_AT_ONCE = 2**22  # drawn indices


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies with 95 % confidence."""

    mean: float
    low: float
    high: float
    count: int


def interval(values: Float[np.ndarray, " n"], *, seed: int = 0) -> Interval:
    """Return the mean of samples with its percentile bootstrap interval of 95 % (Efron 1979); NaN without samples.

    Args:
        seed: of the 1000 resamples.

    Example:
        >>> import numpy as np
        >>> from camtool.evaluation import interval
        >>> found = interval(np.array([0.0, 1.0, 1.0, 2.0]))
        >>> found.mean, found.low <= 1 <= found.high, found.count
        (1.0, True, 4)
    """
    count = len(values)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    generator = np.random.default_rng(seed)
    means: list[np.ndarray] = []
    left = RESAMPLES
    while left:
        part = min(left, max(1, _AT_ONCE // count))
        means.append(values[generator.integers(count, size=(part, count))].mean(axis=1))
        left -= part
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return Interval(float(values.mean()), float(low), float(high), count)


Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class PairedTest:
    """Whether two methods score differently on the same samples."""

    first: str
    second: str
    difference: float
    """Mean of first - second."""
    p: float
    """Of Wilcoxon's signed-rank test, two-sided; NaN with too few samples."""
    p_holm: float
    """Corrected for the number of pairs (Holm 1979)."""
    count: int
    """Number of samples that both have scores of."""


def paired_tests(scores: Mapping[str, Mapping[Key, float]]) -> list[PairedTest]:
    """Return Wilcoxon's signed-rank test of each pair of methods, with Holm's correction over all pairs.

    Args:
        scores: by method, and in it by sample; samples that one of a pair lacks are left out of it.

    Example:
        >>> from camtool.evaluation import paired_tests
        >>> better = {sample: 0.5 + 0.01 * sample for sample in range(12)}
        >>> (found,) = paired_tests({"a": better, "b": {sample: value - 0.2 for sample, value in better.items()}})
        >>> round(found.difference, 6), found.p < 0.01, found.count
        (0.2, True, 12)
    """
    found: list[tuple[str, str, float, float, int]] = []
    for first, second in combinations(scores, 2):
        shared = [sample for sample in scores[first] if sample in scores[second]]
        differences = np.array([scores[first][sample] - scores[second][sample] for sample in shared], dtype=np.float64)
        mean = float(differences.mean()) if shared else math.nan
        found.append((first, second, mean, _wilcoxon(differences), len(shared)))
    corrected = holm([entry[3] for entry in found])
    return [PairedTest(first, second, mean, p, holmed, n) for (first, second, mean, p, n), holmed in zip(found, corrected, strict=True)]


def _wilcoxon(differences: Float[np.ndarray, " n"]) -> float:
    from scipy.stats import wilcoxon  # comes with scikit-learn

    if len(differences) < 2:
        return math.nan
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences, zero_method="zsplit").pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number: step-down Bonferroni, Holm 1979; NaN stays and does not count.

    Example:
        >>> from camtool.evaluation import holm
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    known = [number for number, value in enumerate(values) if math.isfinite(value)]
    corrected = [math.nan] * len(values)
    largest = 0.0
    for rank, number in enumerate(sorted(known, key=lambda number: values[number])):
        largest = max(largest, min(1.0, (len(known) - rank) * values[number]))
        corrected[number] = largest
    return corrected


def finite_values(values: Iterable[float | None]) -> Float[np.ndarray, " n"]:
    """Return the finite ones of values."""
    return np.array([value for value in values if value is not None and math.isfinite(value)], dtype=np.float64)
