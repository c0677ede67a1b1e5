"""The pointing game: distances, ties, classes, and what is refused."""

import math

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from camtool.errors import DataError
from camtool.metrics import by_class, mean_of_classes, pointing
from tests.metrics.samples import SIZES, objects


def peak_at(size: tuple[int, ...], *place: int) -> np.ndarray:
    found = np.zeros((1, *size))
    found[0][place] = 1
    return found


def literal_pointing(one: np.ndarray, mask: np.ndarray, tolerance: float) -> bool:
    """Return whether any position of the mask is close enough to the only maximum."""
    (peak,) = [place for place in np.ndindex(one.shape) if one[place] == one.max()]
    return any(math.dist(peak, place) <= tolerance for place in np.ndindex(one.shape) if mask[place])


def test_a_maximum_at_the_tolerance_is_a_hit_and_one_beyond_is_none() -> None:
    masks = peak_at((30, 40), 10, 10)
    assert pointing(peak_at((30, 40), 10, 25), masks).tolist() == [True]
    assert pointing(peak_at((30, 40), 10, 26), masks).tolist() == [False]
    assert pointing(peak_at((30, 40), 19, 22), masks).tolist() == [True]  # 9, 12: 15 away
    assert pointing(peak_at((30, 40), 20, 22), masks).tolist() == [False]
    assert pointing(peak_at((30, 40), 20, 22), masks, tolerance=15.7).tolist() == [True]
    assert pointing(peak_at((30, 40), 10, 11), masks, tolerance=0).tolist() == [False]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tolerance", [0, 1, 2.5, 4])
def test_pointing_equals_a_literal_replica_and_the_distance_transform(size: tuple[int, ...], tolerance: float) -> None:
    masks, _ = objects(size)
    maps = np.random.default_rng(3).normal(size=masks.shape)
    found = pointing(maps, masks, tolerance).tolist()
    assert found == [literal_pointing(one, mask, tolerance) for one, mask in zip(maps, masks, strict=True)]
    assert found == [distance_transform_edt(~mask).flat[one.argmax()] <= tolerance for one, mask in zip(maps, masks, strict=True)]
    assert True in found
    assert False in found


def test_a_flat_map_hits_as_often_as_chance_by_a_seed() -> None:
    masks = np.zeros((2000, 4, 5), bool)
    masks[:, :2, :2] = True  # a fifth
    flat = np.ones(masks.shape)
    hits = pointing(flat, masks, 0)
    assert abs(hits.mean() - 0.2) < 4 * (0.2 * 0.8 / 2000) ** 0.5
    np.testing.assert_array_equal(pointing(flat, masks, 0), hits)
    assert (pointing(flat, masks, 0, seed=9000) != hits).any()


def test_two_maxima_are_drawn_and_neither_always_hits() -> None:
    maps, masks = np.array([[9.0, 0.0, 0.0, 9.0]] * 100), np.array([[1, 0, 0, 0]] * 100)
    assert 30 < pointing(maps, masks, 0).sum() < 70


def test_the_draw_of_a_sample_is_its_own_in_any_batch() -> None:
    maps, masks = np.ones((6, 8)), np.arange(8) < np.ones((6, 1)) * 4
    together = pointing(maps, masks, 0, seed=5)
    assert together.any()
    assert not together.all()
    np.testing.assert_array_equal([pointing(maps[:1], masks[:1], 0, seed=5 + k)[0] for k in range(6)], together)
    np.testing.assert_array_equal(pointing(maps, masks, 0, seed=[10, 9, 8, 7, 6, 5])[::-1], together)


def test_each_class_counts_the_same() -> None:
    hits, labels = np.array([True, True, True, False, False]), ["cat", "cat", "cat", "dog", 7]
    assert by_class(hits, labels) == {"cat": 1.0, "dog": 0.0, 7: 0.0}
    assert mean_of_classes(hits, labels) == pytest.approx(1 / 3)


def test_bad_input_is_one_line() -> None:
    maps, masks = np.arange(4.0)[None], np.array([[1, 0, 0, 0]])
    with pytest.raises(DataError, match="got an empty one of sample 0"):
        pointing(maps, 0 * masks)
    with pytest.raises(DataError, match="Expected finite maps"):
        pointing(maps * np.nan, masks)
    for tolerance in (-1, math.nan, math.inf, True):
        with pytest.raises(DataError, match="tolerance in positions, 0 or more"):
            pointing(maps, masks, tolerance)
    for seed in (-1, [1, 2], []):
        with pytest.raises(DataError, match="seed of 0 or more, or one for each of 1 samples"):
            pointing(maps, masks, seed=seed)
    for scores, labels in (([True], []), ([], []), ([[True]], ["cat"])):
        with pytest.raises(DataError, match="a label for each"):
            by_class(np.array(scores), labels)
