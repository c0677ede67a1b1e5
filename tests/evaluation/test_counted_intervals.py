"""Intervals of counted figures: exact where they are of samples, alike where they are of groups of samples."""

import numpy as np
import pytest

from camtool.evaluation import counted_interval
from camtool.evaluation.counted import pixel_figure
from camtool.evaluation.statistics import RESAMPLES, _in_groups, _sums

NUMBERS = 2 * 21


def counts_of(samples: int, seed: int = 0) -> np.ndarray:
    """Return counts of positions, of which the lowest threshold has as many as a map of mostly zeros."""
    generator = np.random.default_rng(seed)
    found = generator.poisson(generator.gamma(2, 4, size=(samples, 1)) * np.linspace(0.2, 2, NUMBERS), size=(samples, NUMBERS))
    found[:, NUMBERS // 2] += 50_000
    return found.astype(np.int32)


def figure(sums: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return pixel_figure(sums, samples, step=0.05)


def by_samples(counts: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the interval, resample by resample, sample by sample."""
    generator, count = np.random.default_rng(seed), len(counts)
    figures = []
    for _ in range(RESAMPLES):
        times = np.bincount(generator.integers(count, size=count), minlength=count)
        figures.append(figure((times.astype(object) @ counts.astype(object)).astype(np.float64), np.array(count)))
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("samples", [1, 3, 300])
def test_of_few_samples_it_is_that_of_a_loop_to_the_bit(samples: int) -> None:
    counts = counts_of(samples)
    found = counted_interval(counts, figure, seed=5)
    assert (found.low, found.high) == by_samples(counts, 5)
    assert found.mean == figure(counts.sum(axis=0).astype(np.float64), np.array(samples))


def test_sums_are_exact_where_float32_is_not() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(-(2**20), 2**20, size=(1500, 5))
    counts[:, 3:] %= 7
    times = generator.integers(0, 9, size=(4, 1500)).astype(np.uint16)
    np.testing.assert_array_equal(_sums(times, lambda part: counts[part]), times.astype(np.int64) @ counts)


@pytest.mark.parametrize("samples", [2048, 2500, 3001])
def test_groups_are_of_all_samples_and_of_alike_sizes(samples: int) -> None:
    counts = counts_of(samples)
    sums, sizes = _in_groups(counts, 1)
    np.testing.assert_array_equal(sums.sum(axis=0), counts.sum(axis=0))
    assert sizes.sum() == samples
    assert np.ptp(sizes) <= 1


def test_of_many_samples_it_is_as_wide_as_that_of_single_samples() -> None:
    shares = []
    for seed in range(6):
        counts = counts_of(2600, seed)
        found, (low, high) = counted_interval(counts, figure, seed=seed), by_samples(counts, seed)
        shares.append((found.high - found.low) / (high - low))
        assert abs(found.low - low) < 0.25 * (high - low)
        assert abs(found.high - high) < 0.25 * (high - low)
    assert abs(np.mean(shares) - 1) < 0.06, shares
