"""Masks of COCO: run lengths, plain and compressed, and polygons, as the data set's own tools draw them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from camtool.errors import DataError

_FINER = 5  # points along a polygon's border, for one of the picture
_OFFSET = 48  # of the letters that hold six bits each


def of_runs(counts: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return a mask of alternating runs outside and inside, column by column.

    Raises:
        DataError: if a run is negative, or they do not add up to the picture.

    Example:
        >>> from camtool.datasets.annotations.outlines import of_runs
        >>> of_runs([1, 3, 2], (2, 3)).astype(int)
        array([[0, 1, 0],
               [1, 1, 0]])
    """
    height, width = size
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise DataError(f"expected runs of 0 or more that add up to {height * width} pixels, got {sum(counts)}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, np.array(counts, np.int64)).reshape(width, height).T


def runs_of_text(text: str) -> list[int]:
    """Return the runs of a compressed text: numbers in six bits a letter, from the fourth on as differences to the one before the last.

    Raises:
        DataError: if a letter is none of them, or the text ends within a number.

    Example:
        >>> from camtool.datasets.annotations.outlines import runs_of_text
        >>> runs_of_text("132")
        [1, 3, 2]
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - _OFFSET
        if not 0 <= bits < 64 or shift > 60:
            raise DataError(f"expected a compressed mask, got the letter {letter!r} in it")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("expected a compressed mask, got one that ends within a number")
    return counts


def of_polygons(polygons: Sequence[Sequence[float | int]], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return the mask that polygons (x, y, x, y …) enclose together.

    A pixel belongs to a polygon by the rounded border that COCO's tools draw, five points a pixel, so that masks are the same to the pixel.

    Raises:
        DataError: if a polygon has fewer than three corners, or a number is not finite or far beyond the picture.

    Example:
        >>> from camtool.datasets.annotations.outlines import of_polygons
        >>> of_polygons([[1, 0, 3, 0, 3, 2, 1, 2]], (3, 4)).astype(int)
        array([[0, 1, 1, 0],
               [0, 1, 1, 0],
               [0, 0, 0, 0]])
    """
    mask = np.zeros(size, bool)
    for polygon in polygons:
        mask |= _of_polygon(polygon, size)
    return mask


def _of_polygon(polygon: Sequence[Any], size: tuple[int, int]) -> np.ndarray:
    height, width = size
    numbers = np.array(polygon, np.float64)
    if numbers.ndim != 1 or len(numbers) < 6 or len(numbers) % 2:
        raise DataError("expected a polygon of x and y of at least three corners")
    if not (np.abs(numbers) <= 10 * max(size)).all():  # NaN is not
        raise DataError("expected a polygon within the picture, or close to it")
    corners = (_FINER * numbers + 0.5).astype(np.int64).reshape(-1, 2)
    border = np.concatenate([_line(one, other) for one, other in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
    # Where the border goes from one column of fine points to the next, at the middle of a column of pixels.
    (x, y), (x_before, y_before) = border[1:].T, border[:-1].T
    column = (np.where(x < x_before, x, x - 1) + 0.5) / _FINER - 0.5
    row = np.ceil(((np.minimum(y, y_before) + 0.5) / _FINER - 0.5).clip(0, height))
    counts = (x != x_before) & (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    crossings = np.bincount((column[counts] * height + row[counts]).astype(np.int64), minlength=width * height + 1)
    return (crossings[:-1].cumsum() % 2 == 1).reshape(width, height).T


def _line(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the points (k, 2) from one corner to the next, one a step along the longer axis, computed from its lower end."""
    across, down = np.abs(end - start).tolist()
    longer = 0 if across >= down else 1
    turned = bool(start[longer] > end[longer])
    first, last = (end, start) if turned else (start, end)
    steps = np.arange(max(across, down) + 1)
    slope = (last[1 - longer] - first[1 - longer]) / max(len(steps) - 1, 1)
    points = np.empty((len(steps), 2), np.int64)
    points[:, longer] = first[longer] + steps
    points[:, 1 - longer] = (first[1 - longer] + slope * steps + 0.5).astype(np.int64)
    return points[::-1] if turned else points
