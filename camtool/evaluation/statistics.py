"""Statistics over scores: figures with bootstrap intervals, in all and by class, and paired tests of methods."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Integer

RESAMPLES = 1000
CONFIDENCE = 0.95
_AT_ONCE = 2**22  # drawn indices
_ROUNDING = 1e-12
_SAMPLES_AT_ONCE = 1024  # as floating-point numbers
_GROUPS = 1024
_FIGURES_AT_ONCE = 128  # of sums, of which a figure makes several tables
_EXACT = 2**24  # float32 has all whole numbers up to it

Figure: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
    return _interval(float(values.mean()), np.concatenate([values[drawn].mean(axis=1) for drawn in _drawn(count, count, seed)]), count)


def counted_interval(counts: Integer[np.ndarray, "n numbers"], figure: Figure, *, seed: int = 0) -> Interval:
    """Return the figure of samples' counts with its bootstrap interval of 95 %, for which samples are drawn; NaN without samples.

    Of 2048 samples and more 1024 random groups of them are drawn, of sizes that differ by one at most: as each group is a sum of
    independent samples, the interval is as wide in the mean, and the groups' chance in it (2 %) is below that of 1000 resamples (4 %).

    Args:
        figure: returns (*r,) figures of sums (*r, numbers) of the counts of (*r,) samples.
        seed: of the groups, and of the 1000 resamples, which of fewer samples are those of `interval`.

    Example:
        >>> import numpy as np
        >>> from camtool.evaluation import counted_interval
        >>> hits = np.array([[0, 1], [1, 1], [1, 0], [1, 0]])  # of each sample at two thresholds
        >>> found = counted_interval(hits, lambda sums, samples: (sums / samples[..., None]).max(axis=-1))
        >>> found.mean, found.low <= 0.75 <= found.high, found.count
        (0.75, True, 4)
    """
    count = len(counts)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    grouped, sizes = _in_groups(counts, seed)
    times = np.concatenate([_times(drawn, len(sizes)) for drawn in _drawn(len(sizes), len(sizes), seed)])
    sums, samples = _sums(times, lambda part: grouped[part]), times @ sizes
    parts = [slice(first, first + _FIGURES_AT_ONCE) for first in range(0, len(sums), _FIGURES_AT_ONCE)]
    figures = [figure(sums[part], samples[part]) for part in parts]
    return _interval(float(figure(counts.sum(axis=0, dtype=np.float64), np.array(count))), np.concatenate(figures), count)


def _interval(figure: float, resampled: Float[np.ndarray, " r"], count: int) -> Interval:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Interval(figure, float(low), float(high), count)


def _drawn(below: int, count: int, seed: int) -> Iterator[Integer[np.ndarray, "r count"]]:
    """Yield 1000 rows of `count` drawn numbers below a bound, as many at once as fit in memory."""
    generator = np.random.default_rng(seed)
    left = RESAMPLES
    while left:
        part = min(left, max(1, _AT_ONCE // count))
        yield generator.integers(below, size=(part, count))
        left -= part


def _in_groups(counts: Integer[np.ndarray, "n numbers"], seed: int) -> tuple[np.ndarray, Integer[np.ndarray, " groups"]]:
    """Return the sums of counts of random groups of samples, and how many are in each; of a few samples they are groups of one."""
    count = len(counts)
    if count < 2 * _GROUPS:
        return counts, np.ones(count, np.int64)
    order = np.random.default_rng((seed, count)).permutation(count)
    starts = np.arange(_GROUPS + 1) * count // _GROUPS
    sums = np.empty((_GROUPS, counts.shape[1]), np.int64)
    for group, (first, last) in enumerate(pairwise(starts.tolist())):
        counts[order[first:last]].sum(axis=0, dtype=np.int64, out=sums[group])
    return sums, np.diff(starts)


def _times(drawn: Integer[np.ndarray, "r count"], below: int) -> Integer[np.ndarray, "r below"]:
    """Return how often each number below a bound was drawn, by row."""
    times = np.empty((len(drawn), below), np.uint16)  # of up to 65,535 samples any number of times, of more by no chance more often
    for row, numbers in zip(times, drawn, strict=True):
        row[:] = np.bincount(numbers, minlength=below)
    return times


def _sums(times: Integer[np.ndarray, "r n"], counts: Callable[[slice], np.ndarray]) -> Float[np.ndarray, "r numbers"]:
    """Return the exact sums of counts, each sample's so many times: in float32, which is faster, where no part of a sum is too large.

    Args:
        counts: returns those of some samples (k, numbers): of a data set they are kept as small as they fit.
    """
    total: Float[np.ndarray, "r numbers"] | None = None
    for first in range(0, times.shape[1], _SAMPLES_AT_ONCE):
        part = slice(first, first + _SAMPLES_AT_ONCE)
        factors, numbers = times[:, part], counts(part)
        large = np.abs(numbers, dtype=np.float64).sum(axis=0) * int(factors.max()) > _EXACT
        found = torch.from_numpy(factors.astype(np.float32)) @ torch.from_numpy(numbers.astype(np.float32))
        sums = found.double().numpy()
        if large.any():
            sums[:, large] = factors.astype(np.float64) @ numbers[:, large].astype(np.float64)
        total = sums if total is None else np.add(total, sums, out=total)
    assert total is not None
    return total


Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class PairedTest:
    """Whether two methods score differently on the same samples."""

    first: str
    second: str
    difference: float
    """Mean of first - second; of a metric of the data set as a whole the difference of the figures."""
    p: float
    """Of Wilcoxon's signed-rank test, two-sided, or of a permutation test; NaN with too few samples."""
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
    return _corrected(found)


def counted_tests(counts: Mapping[str, Mapping[Key, np.ndarray]], figure: Figure, *, seed: int = 0) -> list[PairedTest]:
    """Return a paired permutation test (Fisher 1935) of each pair of methods' figures, with Holm's correction over all pairs.

    If two methods are alike, each sample's counts may as well be those of the other one: p is the share of 1000 seeded exchanges, and of
    the counts as they are, whose figures differ at least as much.

    Args:
        counts: by method, and in it by sample; samples that one of a pair lacks are left out of it.
        figure: as of `counted_interval`.

    Example:
        >>> import numpy as np
        >>> from camtool.evaluation import counted_tests
        >>> hits = {sample: np.array([1]) for sample in range(12)}
        >>> none = {sample: np.array([0]) for sample in range(12)}
        >>> (found,) = counted_tests({"a": hits, "b": none}, lambda sums, samples: sums[..., 0] / samples)
        >>> found.difference, found.p < 0.01, found.count
        (1.0, True, 12)
    """
    found: list[tuple[str, str, float, float, int]] = []
    for first, second in combinations(counts, 2):
        shared = [sample for sample in counts[first] if sample in counts[second]]
        if not shared:
            found.append((first, second, math.nan, math.nan, 0))
            continue
        one, other = ([counts[name][sample] for sample in shared] for name in (first, second))
        count = len(shared)
        sums = tuple(_sums(np.ones((1, count), np.uint16), partial(_stacked, own))[0] for own in (one, other))
        apart = partial(_apart, one, other)

        def difference(moved: np.ndarray, sums: tuple[np.ndarray, ...] = sums, count: int = count) -> np.ndarray:
            samples = np.full(moved.shape[:-1], count)
            return np.asarray(figure(sums[0] + moved, samples) - figure(sums[1] - moved, samples))

        own = float(difference(np.zeros_like(sums[0])))
        moved = [difference(_sums(swapped.astype(np.uint16), apart)) for swapped in _drawn(2, count, seed)]
        as_far = int((np.abs(np.concatenate(moved)) >= abs(own) - _ROUNDING).sum())
        found.append((first, second, own, (1 + as_far) / (1 + RESAMPLES) if count > 1 else math.nan, count))
    return _corrected(found)


def _stacked(counts: Sequence[np.ndarray], part: slice) -> np.ndarray:
    return np.stack(counts[part])


def _apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray], part: slice) -> np.ndarray:
    return np.stack(other[part]).astype(np.float64) - np.stack(one[part])


def _corrected(found: Sequence[tuple[str, str, float, float, int]]) -> list[PairedTest]:
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
