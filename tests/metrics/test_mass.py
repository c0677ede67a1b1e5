"""Energy and rank accuracy: worked by hand, against slow literal replicas, and what is refused."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from camtool.errors import NOT_FINITE, DataError
from camtool.metrics import energy, rank_accuracy
from tests.metrics.samples import SIZES

MAP = np.array([[[0.0, 1.0], [3.0, 4.0]]])
MASK = np.array([[[False, True], [False, True]]])


def literal_energy(one: np.ndarray, mask: np.ndarray) -> float:
    inside = total = 0.0
    for value, is_inside in zip(one.flat, mask.flat, strict=True):
        total += value
        inside += value if is_inside else 0.0
    return inside / total


def literal_rank_accuracy(one: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean over every order of equal values of the share of the k first that are inside."""
    values, inside = one.ravel().tolist(), mask.ravel().tolist()
    orders = itertools.permutations(range(len(values)))
    descending = [order for order in orders if all(values[a] >= values[b] for a, b in itertools.pairwise(order))]
    shares = [sum(inside[k] for k in order[: sum(inside)]) / sum(inside) for order in descending]
    return sum(shares) / len(shares)


def test_shares_are_what_the_hand_works_out() -> None:
    assert energy(MAP, MASK) == pytest.approx([5 / 8])  # 1 + 4 of 8
    assert rank_accuracy(MAP, MASK) == pytest.approx([1 / 2])  # 4 and 3 are highest, 4 and 1 inside
    # Three positions share the second place: two of them are inside.
    assert rank_accuracy(np.array([[5.0, 2.0, 2.0, 2.0, 0.0]]), np.array([[0, 1, 1, 0, 0]])) == pytest.approx([(2 / 3) / 2])


@pytest.mark.parametrize("size", SIZES)
def test_energy_equals_a_literal_replica(size: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    maps, masks = generator.gamma(0.7, size=(4, *size)), generator.random((4, *size)) < 0.4
    expected = [literal_energy(one, mask) for one, mask in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(energy(maps, masks), expected, rtol=1e-12)
    np.testing.assert_allclose(energy(torch.from_numpy(maps), torch.from_numpy(masks)), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [(7,), (2, 3), (2, 2, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_rank_accuracy_is_the_mean_over_all_orders_of_equal_values(size: tuple[int, ...], seed: int) -> None:
    generator = np.random.default_rng(seed)
    maps = generator.integers(-1, 3, (2, *size)).astype(float)
    masks = np.stack([np.arange(maps[0].size) < count for count in (2, 3)]).reshape(maps.shape)
    expected = [literal_rank_accuracy(one, mask) for one, mask in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(rank_accuracy(maps, masks), expected, rtol=1e-12)


def test_a_flat_map_has_the_masks_share_of_the_positions() -> None:
    flat = np.full_like(MAP, 3.0)
    assert energy(flat, MASK) == rank_accuracy(flat, MASK) == 1 / 2


def test_the_scale_of_a_map_does_not_matter_however_large() -> None:
    np.testing.assert_allclose(energy(MAP * 4e307, MASK), energy(MAP, MASK))
    np.testing.assert_allclose(energy(MAP * 1e-310, MASK), energy(MAP, MASK))
    np.testing.assert_array_equal(rank_accuracy(MAP - 9, MASK), rank_accuracy(MAP, MASK))


@pytest.mark.parametrize("score", [energy, rank_accuracy])
@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (MAP, MASK[:, :1], "Expected masks .* of the maps' shape, 1x2x2, got 1x1x2"),
        (MAP, np.zeros_like(MASK), "at least one position, got an empty one of sample 0"),
        (MAP, 2 * MASK, "Expected a mask of 0 and 1, got 2"),
        (np.where(MAP == 1, np.nan, MAP), MASK, "Expected finite maps, got NaN or infinity in that of sample 0"),
        (np.ones(3), np.ones(3), r"Expected maps \(n, \*spatial\)"),
    ],
)
def test_bad_input_is_one_line(score: Callable[..., np.ndarray], maps: np.ndarray, masks: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        score(maps, masks)
    assert "\n" not in str(refused.value)
    assert (refused.value.status == NOT_FINITE) == ("finite" in message)


def test_energy_refuses_maps_without_a_sum_to_divide() -> None:
    with pytest.raises(DataError, match="value above 0, got 0 everywhere in that of sample 1"):
        energy(np.concatenate([MAP, 0 * MAP]), np.concatenate([MASK, MASK]))
    with pytest.raises(DataError, match=r"without negative values, got -1 .*try its positive part"):
        energy(MAP - 1, MASK)
