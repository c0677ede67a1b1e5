"""The pointing game: does a map's maximum lie on the object, or close to it?"""

import math

import numpy as np
import torch

from camtool.metrics.pairs import Seed, checked_masks, seeds_of
from camtool.metrics.settings import number
from camtool.metrics.thresholds import Array, finite_maps


def pointing(maps: Array, masks: Array, tolerance: float | int = 15, *, seed: Seed = 0) -> np.ndarray:
    """Return of each sample whether the map's maximum lies at most `tolerance` positions from the mask, booleans (n,).

    Zhang et al. 2016, arXiv:1608.00507; its accuracy is the mean over classes of the share of hits (`mean_of_classes`). The distance is the
    Euclidean one between centres of positions, 0 inside of the mask. A map is one hit or none, so that only the mean over samples falls
    steadily as maps fade to noise.

    Differs from others: of several maxima one is drawn (in TorchRay the first of the array, in Quantus any hit is one), so that a map that
    is the same everywhere hits as often as chance; a mask without a position is an error and no hit; a maximum at exactly `tolerance` is a
    hit (TorchRay: none).

    Args:
        maps: (n, *spatial), of any sign, at the size at which the tolerance is meant.
        masks: (n, *spatial), booleans or 0 and 1, a mask of each map with at least one position.
        tolerance: positions; 0: on the mask.
        seed: which of several maxima is taken: a number, to which a sample's place in the batch is added, or one for each sample.

    Raises:
        DataError: if the shapes differ, a mask is empty or has other values, a map is not finite, the tolerance or a seed is negative.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import pointing
        >>> maps, masks = np.array([[0.0, 2.0, 8.0, 6.0]]), np.array([[True, False, False, False]])
        >>> pointing(maps, masks), pointing(maps, masks, tolerance=1)
        (array([ True]), array([False]))
    """
    values = finite_maps(maps, signed=True)
    inside = checked_masks(masks, values.shape)
    expected = "a tolerance in positions, 0 or more, such as 15, the pointing game's"
    tolerance = number(tolerance, expected, lambda value: 0 <= value < math.inf)
    seeds = seeds_of(seed, len(values))
    hits = [_is_near(_peak(one, own), mask, tolerance) for one, mask, own in zip(values, inside, seeds, strict=True)]
    return np.array(hits, dtype=bool)


def _peak(values: np.ndarray, seed: int) -> np.ndarray:
    """Return the position (rank,) of a maximum, one of several drawn by the seed."""
    tied = np.argwhere(values == values.max())
    if len(tied) == 1:
        return tied[0]
    return tied[int(torch.randint(len(tied), (1,), generator=torch.Generator().manual_seed(seed)))]


def _is_near(point: np.ndarray, mask: np.ndarray, tolerance: float | int) -> bool:
    # The distance transform at one position, which is all that is asked: in whole numbers, exact.
    squares = ((np.argwhere(mask) - point) ** 2).sum(axis=1)
    return bool(squares.min() <= tolerance**2)
