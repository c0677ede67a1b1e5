"""Mosaics: pictures of several classes in one, and the share of a map that lies on those of the explained class."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from camtool.errors import DataError, times
from camtool.metrics.settings import sizes_of
from camtool.metrics.thresholds import Array, as_array, finite_maps


def mosaic(samples: Shaped[Tensor, "m c *spatial"], grid: Sequence[int]) -> Shaped[Tensor, "n c *large"]:
    """Return mosaics of as many samples as a grid has cells, in its order: the first cells lie along the last axis.

    Args:
        samples: (n * cells, c, *spatial), those of a mosaic one after another.
        grid: cells along each spatial axis, such as (2, 2).

    Raises:
        DataError: if the grid has another number of axes, or the samples do not fill mosaics.

    Example:
        >>> import torch
        >>> from camtool.metrics import mosaic
        >>> mosaic(torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 1, 2), (2, 2)).tolist()
        [[[[0, 0, 1, 1], [2, 2, 3, 3]]]]
    """
    if not isinstance(samples, Tensor):
        raise DataError(f"Expected samples (n * cells, c, *spatial) as a tensor, got a {type(samples).__name__}.")
    grid = sizes_of(grid, "the cells along each spatial axis, such as (2, 2)")
    cells, rank = math.prod(grid), samples.ndim - 2
    if len(grid) != rank or rank < 1 or len(samples) % cells or not len(samples):
        raise DataError(
            f"Expected samples (n * cells, c, *spatial) and the cells along each spatial axis, got {times(samples.shape)} and "
            f"{times(grid) or 'none'}."
        )
    tiles = samples.unflatten(0, (-1, *grid))  # n, *grid, c, *spatial
    order = [0, 1 + rank, *(axis for k in range(rank) for axis in (1 + k, 2 + rank + k))]
    sizes = [count * size for count, size in zip(grid, samples.shape[2:], strict=True)]
    return tiles.permute(order).reshape(-1, samples.shape[1], *sizes)


def focus(maps: Array, cells: Array) -> np.ndarray:
    """Return of each mosaic the share of the map's positive sum that lies on its cells of the explained class, 0 to 1.

    Arias-Duart et al. 2022, arXiv:2109.15035 (Focus): mosaics of 2x2 pictures, two of which have the explained class; chance gives 1/2.
    Falls steadily as a map fades from those cells to noise. Each axis has one rule, so that width and height cannot be swapped:
    a cell is the axis divided by the number of cells.

    Args:
        maps: over the mosaics, (n, *spatial), of any sign; sizes are multiples of the numbers of cells.
        cells: which cells have the explained class, booleans or 0 and 1, (n, *grid), such as (n, 2, 2).

    Raises:
        DataError: if a size is no such multiple, a mosaic has no cell of its class, a map is not finite or nowhere positive.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import focus
        >>> maps = np.array([[[1.0, 2.0, 3.0, -9.0], [0.0, 0.0, 0.0, 2.0]]])
        >>> focus(maps, np.array([[[True, False], [False, True]]]))  # (1 + 2 + 2) / (1 + 2 + 3 + 2)
        array([0.625])
    """
    values = finite_maps(maps, signed=True).clip(min=0)
    chosen = as_array(cells)
    grid, sizes = chosen.shape[1:], values.shape[1:]
    alike = chosen.ndim == values.ndim and len(chosen) == len(values)
    if not alike or any(count < 1 or size % count for size, count in zip(sizes, grid, strict=True)):
        raise DataError(
            f"Expected cells (n, *grid) that divide the sizes of the maps {times(values.shape)}, got {times(chosen.shape) or 'one value'}."
        )
    if ((chosen != 0) & (chosen != 1)).any() or not (chosen != 0).reshape(len(chosen), -1).any(axis=1).all():
        raise DataError("Expected cells of 0 and 1, with at least one of the explained class in each mosaic.")
    highest = values.reshape(len(values), -1).max(axis=1)
    for sample in np.flatnonzero(highest == 0):
        raise DataError(f"Expected a map with a value above 0, got none in that of mosaic {sample}; leave it out.")
    inside = chosen != 0
    for axis, (size, count) in enumerate(zip(sizes, grid, strict=True), start=1):
        inside = inside.repeat(size // count, axis=axis)
    shares = (values / highest.reshape(-1, *[1] * len(sizes))).reshape(len(values), -1)
    return np.asarray((shares * inside.reshape(shares.shape)).sum(axis=1) / shares.sum(axis=1))
