"""Mosaics and focus: every cell at its place, width and height told apart, and what is refused."""

import numpy as np
import pytest
import torch

from camtool.errors import DataError
from camtool.metrics import focus, mosaic


def literal_focus(one: np.ndarray, cells: np.ndarray) -> float:
    chosen = total = 0.0
    for place in np.ndindex(one.shape):
        value = max(one[place], 0.0)
        cell = tuple(index * count // side for index, count, side in zip(place, cells.shape, one.shape, strict=True))
        total += value
        chosen += value if cells[cell] else 0.0
    return chosen / total


@pytest.mark.parametrize(("size", "grid"), [((6,), (3,)), ((4, 6), (2, 2)), ((4, 6), (2, 3)), ((2, 4, 6), (1, 2, 2))])
def test_focus_equals_a_literal_replica(size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    maps, cells = generator.normal(size=(5, *size)), generator.random((5, *grid)) < 0.5
    cells.reshape(5, -1)[:, 0] = True
    maps.reshape(5, -1)[:, 0] = 1
    expected = [literal_focus(one, chosen) for one, chosen in zip(maps, cells, strict=True)]
    np.testing.assert_allclose(focus(maps, cells), expected, rtol=1e-12)
    np.testing.assert_allclose(focus(maps * 4e307, cells), expected, rtol=1e-12)


def test_width_is_not_height() -> None:
    maps = np.zeros((1, 2, 8))
    maps[0, 0, 7] = 1  # above, at the right
    assert focus(maps, np.array([[[0, 1], [0, 0]]])) == [1]
    assert focus(maps, np.array([[[0, 0], [1, 0]]])) == [0]


@pytest.mark.parametrize(("size", "grid"), [((3,), (2,)), ((2, 3), (2, 2)), ((2, 3), (3, 1)), ((1, 2, 3), (2, 1, 2))])
def test_every_sample_lies_in_its_cell(size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    cells = int(np.prod(grid))
    samples = torch.arange(2 * cells * 3 * int(np.prod(size))).view(2 * cells, 3, *size)
    found = mosaic(samples, grid)
    assert found.shape == (2, 3, *(count * side for count, side in zip(grid, size, strict=True)))
    for number, cell in enumerate(np.ndindex(grid)):
        window = tuple(slice(place * side, (place + 1) * side) for place, side in zip(cell, size, strict=True))
        for which in (0, 1):
            assert torch.equal(found[(which, slice(None), *window)], samples[which * cells + number])


def test_bad_input_is_one_line() -> None:
    maps, cells = np.ones((1, 4, 6)), np.array([[[1, 0], [0, 0]]])
    with pytest.raises(DataError, match=r"divide the sizes of the maps 1x4x6, got 1x4x4"):
        focus(maps, np.ones((1, 4, 4)))
    with pytest.raises(DataError, match="divide the sizes"):
        focus(maps, np.ones((1, 2)))
    with pytest.raises(DataError, match="at least one of the explained class"):
        focus(maps, 0 * cells)
    with pytest.raises(DataError, match="cells of 0 and 1"):
        focus(maps, 3 * cells)
    with pytest.raises(DataError, match="got none in that of mosaic 0"):
        focus(-maps, cells)
    with pytest.raises(DataError, match="finite"):
        focus(maps * np.nan, cells)
    refused = (((3, 1, 2, 2), (2, 2)), ((4, 1, 2), (2, 2)), ((0, 1, 2, 2), (2, 2)), ((4, 1, 2, 2), (0, 2)))
    for shape, grid in refused:
        with pytest.raises(DataError, match="cells along each spatial axis"):
            mosaic(torch.ones(shape), grid)
