"""Placement: maps resampled to the input, each cell where it lies, against a literal replica; what cannot be meant is refused."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from camtool.errors import CamtoolError, ConfigError
from camtool.functional import min_max
from camtool.fusion import Mean, Product, Refined, Winsorized
from camtool.placement import Placement, averaged, build_placement, placed

RANKS = (1, 2, 3)
CELLS, PIXELS = (5, 4, 3), (20, 14, 9)
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def maps_of(rank: int, count: int = 2) -> Tensor:
    return torch.rand(count, *CELLS[:rank], generator=torch.Generator().manual_seed(rank), dtype=torch.float64)


def off_centre(rank: int) -> Placement:
    return Placement((4.0, 3.25, 2.5)[:rank], (-0.5, 2.25, 1.0)[:rank])


def replica(cells: np.ndarray, size: Sequence[int], scale: Sequence[float], offset: Sequence[float]) -> np.ndarray:
    """Return a map of one sample: at each pixel the mean of the two nearest cells along each axis by their distances."""
    out = np.zeros(size)
    for pixel in np.ndindex(*size):
        places = [min(max((p - b) / a, 0), n - 1) for p, a, b, n in zip(pixel, scale, offset, cells.shape, strict=True)]
        for corner in itertools.product((0, 1), repeat=len(size)):
            weight, index = 1.0, []
            for place, side, n in zip(places, corner, cells.shape, strict=True):
                below = int(place)
                weight *= place - below if side else 1 - (place - below)
                index.append(min(below + side, n - 1))
            out[pixel] += weight * cells[tuple(index)]
    return out


@pytest.mark.parametrize("rank", RANKS)
def test_an_even_placement_is_torchs_interpolation_to_the_last_bit(rank: int) -> None:
    maps, size = maps_of(rank).float(), PIXELS[:rank]
    expected = F.interpolate(maps[:, None], size=size, mode=MODES[rank], align_corners=False)[:, 0]
    for placement in (None, Placement.even(CELLS[:rank], size), Placement.even(CELLS[:rank], size, "not measured")):
        assert torch.equal(placed(maps, size, placement), expected)


@pytest.mark.parametrize("rank", RANKS)
def test_a_placement_is_its_replica(rank: int) -> None:
    maps, size, placement = maps_of(rank), PIXELS[:rank], off_centre(rank)
    for found, cells in zip(placed(maps, size, placement), maps, strict=True):
        np.testing.assert_allclose(found.numpy(), replica(cells.numpy(), size, placement.scale, placement.offset), atol=1e-12)


def test_numbers_just_off_an_even_division_give_nearly_its_map() -> None:
    maps, even = maps_of(2), Placement.even(CELLS[:2], PIXELS[:2])
    close = Placement(even.scale, tuple(value + 1e-9 for value in even.offset))
    torch.testing.assert_close(placed(maps, PIXELS[:2], close), placed(maps, PIXELS[:2]), atol=1e-7, rtol=0)


def test_a_signal_is_a_picture_of_height_one() -> None:
    maps, placement = maps_of(1), off_centre(1)
    picture = Placement((1.0, *placement.scale), (0.0, *placement.offset))
    assert torch.equal(placed(maps[:, None], (1, 20), picture)[:, 0], placed(maps, (20,), placement))


@pytest.mark.parametrize("rank", RANKS)
def test_an_offset_of_whole_pixels_moves_the_map_and_extends_the_outer_cells(rank: int) -> None:
    maps, size, placement = maps_of(rank), PIXELS[:rank], off_centre(rank)
    moved = placed(maps, size, Placement(placement.scale, tuple(value + 2 for value in placement.offset)))
    inner, shifted = (tuple(slice(start, stop) for _ in range(rank)) for start, stop in ((None, -2), (2, None)))
    torch.testing.assert_close(moved[:, *shifted], placed(maps, size, placement)[:, *inner])
    corner = placed(maps, size, Placement((4.0,) * rank, (3.0,) * rank))[:, *(slice(0, 4) for _ in range(rank))].flatten(1)
    torch.testing.assert_close(corner, maps.flatten(1)[:, :1].expand_as(corner))


def test_a_placed_map_has_a_gradient() -> None:
    maps = maps_of(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda cells: placed(cells, (7, 6), Placement((1.5, 1.75), (0.25, -0.5))), maps)


@pytest.mark.parametrize("rank", RANKS)
def test_a_coarser_layers_means_are_integrals_over_its_cells(rank: int) -> None:
    fine, counts = maps_of(rank, 1), (2, 2, 1)[:rank]
    between = Placement((2.3, 1.75, 2.0)[:rank], (0.4, 0.75, 1.0)[:rank])
    found = averaged(fine, counts, between)[0]
    steps = 400  # points along each axis of a coarse cell
    for index in np.ndindex(*counts):
        values = fine[0]
        for axis, (i, a, b, n) in enumerate(zip(index, between.scale, between.offset, CELLS, strict=False)):
            points = a * (i + (np.arange(steps) + 0.5) / steps - 0.5) + b
            nearest = torch.from_numpy(np.clip(np.rint(points), 0, n - 1).astype(int))
            values = values.index_select(axis, nearest).mean(dim=axis, keepdim=True)
        torch.testing.assert_close(found[index], values.flatten()[0], atol=2e-3, rtol=0)


# Fusion


@pytest.mark.parametrize("fusion", [Mean(), Product(), Winsorized(), Refined()], ids=lambda fusion: fusion.name)
@pytest.mark.parametrize("rank", RANKS)
def test_layers_are_placed_before_they_are_fused(fusion: Any, rank: int) -> None:
    """Both layers moved by the same pixels move the fused map; one of them moved alone does something else."""
    generator, size = torch.Generator().manual_seed(7), (48, 40, 32)[:rank]
    fine, coarse = (torch.zeros(2, *(n // stride for n in size), dtype=torch.float64) for stride in (2, 4))
    for layer, border in ((fine, 4), (coarse, 2)):  # evidence that stays within the picture, so that the scaling stays
        within = layer[:, *(slice(border, -border) for _ in range(rank))]
        within += torch.rand(within.shape, generator=generator, dtype=torch.float64)
    importances = torch.tensor([[1.0, 0.5], [2.0, 0.25]], dtype=torch.float64)

    def fused(of_fine: float, of_coarse: float) -> Tensor:
        places = [Placement((2.0,) * rank, (0.5 + of_fine,) * rank), Placement((4.0,) * rank, (1.5 + of_coarse,) * rank)]
        return fusion.fused([fine, coarse], size, importances, places)

    torch.testing.assert_close(fused(0, 0), fusion.fused([fine, coarse], size, importances))
    before, moved = fused(-2, -2), fused(2, 2)
    inner, shifted = (tuple(slice(start, stop) for _ in range(rank)) for start, stop in ((2, -6), (6, -2)))
    torch.testing.assert_close(min_max(moved[:, *shifted]), min_max(before[:, *inner]))
    assert not torch.allclose(fused(2, -2), before)


# Settings


def test_given_numbers_are_those_of_every_target_layer_or_of_one() -> None:
    everywhere, by_path = build_placement({"scale": (32, 16), "offset": 0}), build_placement({"layer3": {"scale": 16, "offset": [0.5]}})
    assert everywhere.given("layer4", 2) == Placement((32.0, 16.0), (0.0, 0.0))
    assert everywhere.given("stem", 2, is_target=False) is None
    assert by_path.given("layer3", 3, is_target=False) == Placement((16.0,) * 3, (0.5,) * 3)
    assert by_path.given("layer4", 3) is None
    assert build_placement(Placement((2.0,), (0.5,))).given("any", 1) == Placement((2.0,), (0.5,))
    assert [build_placement(spec).kind for spec in (None, "even", "measured")] == ["even", "even", "measured"]
    with pytest.raises(ConfigError, match=r"Expected placement numbers of 3 spatial axes for layer 'layer4', got scale=\(32\.0, 16\.0\)"):
        everywhere.given("layer4", 3)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mesured", "Unknown placement 'mesured'; closest: 'measured'"),
        (3, "Expected a placement of 'even', 'measured', numbers such as"),
        ({}, "got {}"),
        ({"scale": 32}, "Expected a placement"),
        ({"scale": 32, "offset": 0, "source": "given"}, "Expected a placement"),
        ({"scale": "32", "offset": 0}, "Expected a placement"),
        ({"scale": True, "offset": 0}, "Expected a placement"),
        ({"scale": [], "offset": 0}, "Expected a placement"),
        ({"scale": -1, "offset": 0}, "scales, above 0"),
        ({"scale": float("nan"), "offset": 0}, "scales, above 0"),
        ({"scale": (1, 2), "offset": (1, 2, 3)}, "as many scales, above 0, as offsets"),
        ({"layer4": 32}, "got 32"),
    ],
)
def test_what_is_no_placement_is_refused_in_words(spec: Any, said: str) -> None:
    with pytest.raises(CamtoolError) as refused:
        build_placement(spec)
    assert said in str(refused.value)


def test_a_refinement_takes_means_over_coarse_cells_where_they_lie() -> None:
    fine, coarse = torch.tensor([[0.0, 2.0, 1.0, 4.0, 3.0, 1.0]], dtype=torch.float64), torch.tensor([[1.0, 3.0, 2.0]], dtype=torch.float64)
    # Coarse cells of 4 pixels, the first from pixel -1.5 to 2.5; fine ones of 2, the first from -0.5 to 1.5, and extended before it.
    means = torch.tensor([[(3 * 0 + 2) / 4, (2 + 2 * 1 + 4) / 4, (4 + 2 * 3 + 1) / 4]], dtype=torch.float64)
    places = [Placement((2.0,), (0.5,)), Placement((4.0,), (0.5,))]
    within, behind = (placed(cells, (6,), Placement((2.0,), (0.0,))) for cells in (means, coarse))
    expected = min_max(placed(min_max(fine / within * behind), (12,)))
    torch.testing.assert_close(Refined().fused([fine, coarse], (12,), None, places), expected)
