"""Trained networks whose explanation is known without annotations: a watermark that tells a class, and mosaics of classes."""

import numpy as np
import pytest
import torch

from camtool.metrics import energy, focus, mosaic, random_maps
from tests.metrics.shape_networks import MARKED, drawn, maps_of, trained

GRIDS = {1: (4,), 2: (2, 2)}
RANKS = [1, pytest.param(2, marks=pytest.mark.slow)]


@pytest.mark.parametrize("rank", RANKS)
def test_energy_on_a_watermark_rises_with_its_correlation(rank: int) -> None:
    scenes = drawn(rank, "val", 1.0)  # every scene of the class has the watermark, and none of the others
    marked = scenes.labels == MARKED
    inputs, watermarks, objects = scenes.inputs[marked], scenes.watermarks[marked.numpy()], scenes.objects[marked.numpy()]
    assert watermarks.reshape(len(watermarks), -1).any(axis=1).all()
    on_watermark, on_object = [], []
    for correlation in (0.0, 0.5, 1.0):
        maps = maps_of(trained(rank, correlation), inputs, [MARKED] * len(inputs))
        on_watermark.append(energy(maps, watermarks).mean())
        on_object.append(energy(maps, objects).mean())
    share = watermarks.mean()
    chance = energy(random_maps(watermarks.shape, seed=0), watermarks).mean()  # of no network
    assert chance == pytest.approx(share, rel=0.05)
    assert on_watermark[0] < 1.3 * share
    assert on_watermark[0] < 0.9 * on_watermark[1]
    assert on_watermark[1] < 0.8 * on_watermark[2]
    assert on_watermark[2] > 3 * share
    assert on_object[0] > 1.5 * on_object[2]


@pytest.mark.parametrize("rank", RANKS)
def test_focus_of_a_trained_network_is_above_one_half_which_is_chance(rank: int) -> None:
    scenes = drawn(rank, "val", 0.0)  # the watermark tells nothing
    network = trained(rank, 0.0)
    order = np.random.default_rng(0)
    chosen, rest = (torch.nonzero((scenes.labels == MARKED) == wanted).flatten().tolist() for wanted in (True, False))
    cells, numbers = [], []
    for first in range(0, len(chosen) - 1, 2):
        here = order.permutation([True, True, False, False])
        own, others = iter(chosen[first : first + 2]), iter(rest[first : first + 2])
        cells.append(here.reshape(GRIDS[rank]))
        numbers += [next(own if is_class else others) for is_class in here]
    inputs = mosaic(scenes.inputs[numbers], GRIDS[rank])
    maps = maps_of(network, inputs, [MARKED] * len(inputs))
    inverted = maps.flatten(1).amax(dim=1).reshape(-1, *[1] * rank) - maps
    found, chance, opposite = (focus(one, np.stack(cells)).mean() for one in (maps, random_maps(maps.shape, seed=0), inverted))
    assert found > 0.6
    assert chance == pytest.approx(0.5, abs=0.02)
    assert opposite < 0.48
