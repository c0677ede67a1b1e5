"""Mean ranks of methods over metrics: places worked by hand, ties, what is missing, and what resamples say."""

import numpy as np
import pytest

from camtool.evaluation.ranks import Comparison

HIGHER = {"one": "higher", "two": "lower"}


def test_places_by_hand() -> None:
    scores = {
        "a": {"one": {0: 0.9, 1: 0.7}, "two": {0: 0.2, 1: 0.2}},  # places 1 and 1.5
        "b": {"one": {0: 0.1, 1: 0.3}, "two": {0: 0.3, 1: 0.1}},  # 3 and 1.5
        "c": {"one": {0: 0.5, 1: 0.5}},  # 2, and the last
    }

    found = Comparison(scores, HIGHER).mean_ranks()

    assert {method: rank.mean for method, rank in found.items()} == {"a": 1.25, "b": 2.25, "c": 2.5}
    assert Comparison(scores, HIGHER).mean_ranks(frozenset({"c"}))["b"].mean == 1.75


def test_rounding_alone_gives_no_place() -> None:
    scores = {name: {"one": {0: 0.5 + shift}} for name, shift in (("a", 0.0), ("b", 1e-7), ("c", 1e-3))}

    found = Comparison(scores, {"one": "higher"}).mean_ranks()

    assert [rank.mean for rank in found.values()] == [2.5, 2.5, 1.0]


@pytest.mark.parametrize("seed", range(5))
def test_places_add_up_and_lie_in_their_intervals(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = {
        f"m{number}": {metric: dict(enumerate(generator.normal(number / 4, 1, 30).tolist())) for metric in HIGHER} for number in range(6)
    }

    found = Comparison(scores, dict.fromkeys(HIGHER, "higher"), seed).mean_ranks()

    assert sum(rank.mean for rank in found.values()) == pytest.approx(6 * 7 / 2)
    assert all(rank.low <= rank.mean <= rank.high for rank in found.values())
    assert any(rank.low < rank.high for rank in found.values())


def test_samples_are_drawn_together() -> None:
    # One is better on each sample, by less than samples differ: in every resample it is the first.
    levels = np.linspace(0, 10, 20)
    scores = {name: {"one": dict(enumerate((levels + shift).tolist()))} for name, shift in (("worse", 0.0), ("better", 0.01))}
    compared = Comparison(scores, {"one": "higher"})

    assert (compared.mean_ranks()["better"].low, compared.mean_ranks()["better"].high) == (1, 1)
    assert compared.above(["worse"]) == {"worse": 0, "better": 1}


def test_to_be_above_is_to_be_above_each_baseline_almost_always() -> None:
    scores = {
        "method": {"one": {0: 0.6, 1: 0.4, 2: 0.6, 3: 0.4}},
        "low": {"one": dict.fromkeys(range(4), 0.1)},
        "between": {"one": dict.fromkeys(range(4), 0.49)},
        "unknown": {},
    }
    compared = Comparison(scores, {"one": "higher"})

    assert compared.above(["low"])["method"] == 1
    assert compared.above(["low", "between"])["method"] == 0, "0.5 is more than 0.49, but not in 97.5 % of the resamples"
    assert compared.above(["low", "unknown"])["method"] == 1, "a baseline without a score is beaten by what has one"
    assert compared.above(["low"])["unknown"] == 0
