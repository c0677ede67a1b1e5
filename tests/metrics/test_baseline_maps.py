"""Maps that know nothing of the network: random ones, the centre's, and edges."""

import numpy as np
import pytest
import torch

from camtool.errors import DataError
from camtool.metrics import center_maps, edge_maps, random_maps

SIZES = [(9,), (5, 8), (3, 4, 5)]


@pytest.mark.parametrize("size", SIZES)
def test_random_maps_are_seeded_one_by_one(size: tuple[int, ...]) -> None:
    state = torch.random.get_rng_state()
    maps = random_maps((4, *size), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(maps[1:3], random_maps((2, *size), seed=4))
    assert torch.equal(maps.flip(0), random_maps((4, *size), seed=[6, 5, 4, 3]))
    assert len(maps.unique()) == maps.numel()
    assert 0 <= maps.min() < maps.max() < 1


@pytest.mark.parametrize("size", SIZES)
def test_the_centre_is_a_gaussian_of_the_sides_proportions(size: tuple[int, ...]) -> None:
    maps = center_maps((2, *size), sigma=0.3)
    for place in np.ndindex(size):
        squares = sum(((index - (side - 1) / 2) / (0.3 * side)) ** 2 for index, side in zip(place, size, strict=True))
        assert float(maps[0][place]) == pytest.approx(np.exp(-squares / 2), rel=1e-6)
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps, maps.flip(list(range(1, maps.ndim))))


@pytest.mark.parametrize("size", SIZES)
def test_edges_equal_a_literal_replica(size: tuple[int, ...]) -> None:
    inputs = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    values = inputs.double().numpy()
    found = edge_maps(inputs.requires_grad_())
    for sample, *place in np.ndindex(2, *size):
        squares = 0.0
        for channel in range(3):
            for axis, side in enumerate(size):
                after, before = list(place), list(place)
                after[axis], before[axis] = min(place[axis] + 1, side - 1), max(place[axis] - 1, 0)
                squares += ((values[(sample, channel, *after)] - values[(sample, channel, *before)]) / 2) ** 2
        assert float(found[(sample, *place)]) == pytest.approx(squares**0.5, rel=1e-5)
    assert not found.requires_grad


def test_a_flat_picture_has_no_edges_and_an_axis_of_one_changes_nothing() -> None:
    assert not edge_maps(torch.full((1, 2, 5, 6), 3.0)).any()
    signal = torch.randn(1, 2, 9, generator=torch.Generator().manual_seed(1))
    assert torch.equal(edge_maps(signal[..., None])[..., 0], edge_maps(signal))


def test_bad_input_is_one_line() -> None:
    for shape in ((3,), (0, 4), (2, 0)):
        with pytest.raises(DataError, match="shape of maps"):
            random_maps(shape)
        with pytest.raises(DataError, match="shape of maps"):
            center_maps(shape)
    for sigma in (0, -1, float("nan"), float("inf")):
        with pytest.raises(DataError, match="sigma"):
            center_maps((1, 4), sigma=sigma)
    with pytest.raises(DataError, match="for each of 2 samples"):
        random_maps((2, 4), seed=[1])
