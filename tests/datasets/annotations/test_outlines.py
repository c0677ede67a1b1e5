"""Masks of COCO: run lengths and polygons, beside what its own tools make of them and a slow replica."""

import numpy as np
import pytest

from camtool.datasets.annotations.outlines import of_polygons, of_runs, runs_of_text
from camtool.errors import DataError

TRIANGLE = [[2.5, 1.2, 10.7, 3.9, 4.1, 8.6]]
STAR_AND_BOX = [[5.0, 0.5, 9.3, 9.1, 0.2, 3.3, 10.4, 3.6, 1.1, 9.4], [0.0, 0.0, 3.0, 0.0, 3.0, 2.0]]


def literal_runs(counts: list[int], size: tuple[int, int]) -> np.ndarray:
    mask, place = np.zeros(size, bool), 0
    for number, count in enumerate(counts):
        for _ in range(count):
            mask[place % size[0], place // size[0]] = number % 2 == 1
            place += 1
    return mask


def literal_text(counts: list[int]) -> str:
    """Write runs as COCO's tools do: six bits a letter, the fourth and later ones as differences to the one before the last."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


def crossings(polygon: list[float], x: float, y: float) -> int:
    """Return how many sides of a polygon a ray from a point to the right crosses."""
    corners = list(zip(polygon[::2], polygon[1::2], strict=True))
    count = 0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        count += (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1)
    return count


@pytest.mark.parametrize("seed", range(8))
def test_runs_are_read_as_they_are_written_by_hand(seed: int) -> None:
    generator = np.random.default_rng(seed)
    size = (int(generator.integers(2, 70)), int(generator.integers(2, 70)))
    cuts = np.sort(generator.integers(0, size[0] * size[1] + 1, 12))
    counts = np.diff(cuts, prepend=0, append=size[0] * size[1]).tolist()
    assert runs_of_text(literal_text(counts)) == counts
    np.testing.assert_array_equal(of_runs(counts, size), literal_runs(counts, size))


@pytest.mark.parametrize(("polygons", "text"), [(TRIANGLE, "R1482M00O2N101Nn0"), (STAR_AND_BOX, "3170K051J0014NL24NN0225NH063OMK1\\1")])
def test_polygons_are_those_of_pycocotools_to_the_pixel(polygons: list[list[float]], text: str) -> None:
    # What frPyObjects, merge of pycocotools 2.0.11 return for a picture of 11 x 13.
    np.testing.assert_array_equal(of_polygons(polygons, (11, 13)), of_runs(runs_of_text(text), (11, 13)))


@pytest.mark.parametrize("seed", range(6))
def test_a_pixel_well_inside_or_outside_of_a_polygon_is_so_in_the_mask(seed: int) -> None:
    generator = np.random.default_rng(seed)
    angles = np.sort(generator.uniform(0, 2 * np.pi, 7))
    points = 20 + generator.uniform(6, 25, 7)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    polygon = points.ravel().tolist()
    mask = of_polygons([polygon], (40, 44))
    near = [(0.0, 0.0), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7)]
    decided = 0
    for row, column in np.ndindex(mask.shape):
        sides = {crossings(polygon, column + 0.5 + dx, row + 0.5 + dy) % 2 for dx, dy in near}
        if len(sides) == 1:
            decided += 1
            assert mask[row, column] == (sides == {1})
    assert decided > 1200


def test_polygons_are_one_mask_together_and_end_at_the_picture() -> None:
    left, right = [0, 0, 4, 0, 4, 4, 0, 4], [3, 1, 30, 1, 30, 3, 3, 3]
    expected = np.zeros((6, 8), bool)
    expected[:4, :4] = expected[1:3, 3:] = True
    np.testing.assert_array_equal(of_polygons([left, right], (6, 8)), expected)


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([0, 0, 1, 1], "three corners"),
        ([0, 0, 1, 1, 2], "three corners"),
        ([0, 0, 1, 1, 2, np.nan], "within"),
        ([0, 0, 1e9, 1, 2, 2], "within"),
    ],
)
def test_what_is_no_polygon_is_refused(polygon: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        of_polygons([polygon], (5, 5))


@pytest.mark.parametrize("counts", [[3, 2], [7, -1], [], [2**62, 2**62]])
def test_runs_that_are_not_the_pictures_are_refused(counts: list[int]) -> None:
    with pytest.raises(DataError, match="add up to 6 pixels"):
        of_runs(counts, (2, 3))


@pytest.mark.parametrize("text", ["1 2", "P", "o" * 40, "é"])
def test_what_is_no_compressed_mask_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="expected a compressed mask"):
        runs_of_text(text)
