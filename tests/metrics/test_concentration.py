"""Sparseness and complexity: closed forms, literal replicas, and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from camtool.errors import DataError
from camtool.metrics import complexity, sparseness
from tests.metrics.samples import SIZES


def literal_gini(one: np.ndarray) -> float:
    """Return the mean absolute difference of all pairs over twice the mean."""
    values = [abs(value) for value in one.flat]
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) * sum(values))


def literal_entropy(one: np.ndarray) -> float:
    total, found = sum(abs(value) for value in one.flat), 0.0
    for value in one.flat:
        if value != 0:
            found -= abs(value) / total * np.log(abs(value) / total)
    return found


@pytest.mark.parametrize("size", [(60,), (8, 9), (3, 4, 5)])
def test_both_equal_literal_replicas(size: tuple[int, ...]) -> None:
    maps = np.random.default_rng(0).normal(size=(3, *size))
    maps[0, 0] = 0
    np.testing.assert_allclose(sparseness(maps), [literal_gini(one) for one in maps], rtol=1e-10)
    np.testing.assert_allclose(complexity(torch.from_numpy(maps)), [literal_entropy(one) for one in maps], rtol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_closed_forms_of_k_equal_positions(size: tuple[int, ...]) -> None:
    count = int(np.prod(size))
    for chosen in (1, 7, count):
        one = np.where(np.arange(count) < chosen, -3.0, 0.0).reshape(1, *size)
        assert sparseness(one) == pytest.approx([1 - chosen / count], abs=1e-12)
        assert complexity(one) == pytest.approx([np.log(chosen)], abs=1e-12)


def test_of_one_to_n_both_have_a_closed_form() -> None:
    ramp = np.arange(1.0, 101.0)[None]
    assert sparseness(ramp) == pytest.approx([(100 - 1) / (3 * 100)])  # Gini's of 1, 2 … N


@pytest.mark.parametrize("score", [sparseness, complexity])
def test_bad_input_is_one_line_and_the_scale_does_not_matter(score: Callable[..., np.ndarray]) -> None:
    maps = np.array([[1.0, -2.0, 0.0, 4.0]])
    np.testing.assert_allclose(score(maps * 4e307), score(maps))
    refused = ((0 * maps, "other than 0, got 0 everywhere in that of sample 0"), (maps + np.inf, "finite"), (np.ones(3), "spatial"))
    for bad, message in refused:
        with pytest.raises(DataError, match=message):
            score(bad)


def test_noise_is_less_sparse_than_an_object_and_the_fall_is_not_monotone_at_its_end() -> None:
    mask = np.zeros((1, 20, 20))
    mask[0, 3:8, 4:9] = 1
    noise = np.random.default_rng(0).random((1, 20, 20))
    fades = np.concatenate([(1 - share) * mask + share * noise for share in np.linspace(0, 1, 6)])
    assert (np.diff(sparseness(fades))[:-1] < 0).all()
    assert sparseness(fades)[-1] == pytest.approx(1 / 3, abs=0.02)
    assert (np.diff(complexity(fades))[:-1] > 0).all()
