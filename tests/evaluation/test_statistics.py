"""Bootstrap intervals and paired tests, against values worked by hand and by simulation."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy.stats import wilcoxon

from camtool.evaluation import counted_interval, counted_tests, holm, interval, paired_tests


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        found = interval(generator.exponential(2.0, size=60), seed=trial)
        held += found.low <= 2.0 <= found.high
    assert 0.89 <= held / 300 <= 0.98  # 95 % for normal means; of 60 skewed values a little less


def test_an_interval_is_that_of_the_normal_law_for_many_samples() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=20_000)
    found = interval(values)

    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.high - found.mean == pytest.approx(half, rel=0.12)
    assert found.mean - found.low == pytest.approx(half, rel=0.12)


def test_an_interval_is_seeded_and_narrow_for_equal_values() -> None:
    values = np.array([0.1, 0.7, 0.4])
    assert interval(values, seed=3) == interval(values, seed=3)
    assert interval(np.full(5, 0.25)) == interval(np.full(5, 0.25), seed=9)
    empty = interval(np.empty(0))
    assert math.isnan(empty.mean)
    assert empty.count == 0


def test_resamples_in_parts_are_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    from camtool.evaluation import statistics

    drawn: list[int] = []
    percentile = np.percentile
    monkeypatch.setattr(statistics, "_AT_ONCE", 300)
    monkeypatch.setattr(statistics.np, "percentile", lambda means, at: drawn.append(len(means)) or percentile(means, at))
    interval(np.arange(100.0))
    assert drawn == [1000]


def test_holm_by_hand() -> None:
    # Sorted: 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    found = holm([0.01, math.nan, 0.02])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])


def test_pairs_are_of_the_samples_that_both_have() -> None:
    generator = np.random.default_rng(2)
    first = {sample: float(value) for sample, value in enumerate(generator.random(30))}
    second = {sample: value + 0.1 * float(generator.normal()) for sample, value in first.items() if sample >= 10}
    third = {sample: value - 0.5 for sample, value in first.items()}

    tests = {(test.first, test.second): test for test in paired_tests({"a": first, "b": second, "c": third})}

    assert list(tests) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (tests["a", "b"].count, tests["a", "c"].count) == (20, 30)
    differences = np.array([first[sample] - second[sample] for sample in second])
    assert tests["a", "b"].difference == pytest.approx(differences.mean())
    assert tests["a", "b"].p == pytest.approx(wilcoxon(differences).pvalue)
    assert tests["a", "c"].p_holm == pytest.approx(3 * min(tests["a", "c"].p, tests["b", "c"].p), rel=1e-6) or tests["a", "c"].p_holm < 1e-4


def test_pairs_without_difference_or_samples() -> None:
    same = dict.fromkeys(range(8), 0.5)
    (equal,) = paired_tests({"a": same, "b": same})
    (alone,) = paired_tests({"a": {0: 1.0}, "b": {0: 2.0}})
    assert (equal.p, equal.p_holm) == (1.0, 1.0)
    assert math.isnan(alone.p)
    assert math.isnan(alone.p_holm)


def share(sums: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / samples)


def best_share(sums: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return np.asarray((sums / samples[..., None]).max(axis=-1))


@pytest.mark.parametrize("count", [1, 2, 9, 1500])
def test_the_interval_of_counts_that_are_scores_is_that_of_the_scores(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 200, count).astype(np.uint8)

    found, expected = counted_interval(values[:, None], share, seed=3), interval(values.astype(np.float64), seed=3)

    assert vars(found) == pytest.approx(vars(expected), rel=1e-12)


def test_the_interval_of_a_figure_is_that_of_resampled_samples() -> None:
    counts = np.random.default_rng(0).integers(0, 2, (30, 7))
    generator = np.random.default_rng(5)
    expected = [counts[drawn].mean(axis=0).max() for drawn in generator.integers(30, size=(1000, 30))]

    found = counted_interval(counts, best_share, seed=5)

    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))
    assert found.mean == counts.mean(axis=0).max()
    assert math.isnan(counted_interval(np.zeros((0, 2), int), best_share).mean)


def test_a_permutation_test_tells_apart_what_differs_and_only_that() -> None:
    generator = np.random.default_rng(1)
    draws = (generator.random((3, 60, 5)) < np.array([0.5, 0.5, 0.9])[:, None, None]).astype(np.uint8)
    counts = {name: dict(enumerate(own)) for name, own in zip("abc", draws, strict=True)}
    del counts["a"][7]

    found = {(test.first, test.second): test for test in counted_tests(counts, best_share)}

    assert found["a", "b"].p > 0.05
    assert found["b", "c"].p_holm < 0.01
    assert (found["a", "b"].count, found["b", "c"].count) == (59, 60)
    shared = [number for number in range(60) if number != 7]
    assert found["a", "c"].difference == pytest.approx(draws[0, shared].mean(axis=0).max() - draws[2, shared].mean(axis=0).max())
    (same,) = counted_tests({"a": counts["b"], "b": counts["b"]}, best_share)
    assert (same.difference, same.p) == (0, 1)


def test_an_exact_permutation_test_of_few_samples_is_approached() -> None:
    one, other = np.array([3, 5, 4, 6]), np.array([1, 2, 5, 2])
    signs = np.array(list(itertools.product([-1, 1], repeat=4)))
    differences = np.abs((signs * (one - other)).mean(axis=1))
    exact = (differences >= abs((one - other).mean())).mean()

    (found,) = counted_tests({"a": dict(enumerate(one[:, None])), "b": dict(enumerate(other[:, None]))}, share)

    assert found.p == pytest.approx(exact, abs=0.03)
    (alone,) = counted_tests({"a": {0: one[:1]}, "b": {0: other[:1]}}, share)
    assert math.isnan(alone.p)


def test_counts_of_many_samples_are_compared_without_a_copy_of_all_of_them() -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 200, size=(64, 2000)).astype(np.uint8)
    counts = {name: {sample: rows[(sample + place) % 64] for sample in range(6000)} for place, name in enumerate("ab")}
    tracemalloc.start()
    (found,) = counted_tests(counts, lambda sums, samples: sums[..., 0] / samples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.count == 6000
    assert peak < 2 * 6000 * 2000 * 8  # of both methods, in 64 bits; the draws themselves take a part of it
