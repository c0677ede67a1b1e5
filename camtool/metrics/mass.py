"""How much of a map lies in a mask: by value (energy, relevance mass) and by rank."""

import numpy as np

from camtool.errors import DataError
from camtool.metrics.pairs import checked_masks
from camtool.metrics.thresholds import Array, finite_maps


def energy(maps: Array, masks: Array) -> np.ndarray:
    """Return of each sample the share of the map's sum that lies in the mask, 0 to 1 (energy-based pointing game, relevance mass).

    sum of m inside / sum of m. Wang et al. 2020, arXiv:1910.01279 (Score-CAM), sec. 4.3; relevance mass accuracy of Arras et al. 2022,
    arXiv:2003.07258. A map that is the same everywhere has the mask's share of the positions: what chance gives. Falls steadily as a map
    fades from the mask to noise.

    Args:
        maps: (n, *spatial), not negative, on any scale.
        masks: (n, *spatial), booleans or 0 and 1, a mask of each map with at least one position.

    Raises:
        DataError: if the shapes differ, a mask is empty or has other values, a map is 0 everywhere, negative or not finite.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import energy
        >>> energy(np.array([[0.0, 2.0, 6.0, 8.0]]), np.array([[False, False, True, True]]))  # (6 + 8) / (2 + 6 + 8)
        array([0.875])
    """
    values = finite_maps(maps)
    inside = checked_masks(masks, values.shape)
    flat = values.reshape(len(values), -1)
    highest = flat.max(axis=1, keepdims=True)
    for sample in np.flatnonzero(highest == 0):
        raise DataError(f"Expected a map with a value above 0, got 0 everywhere in that of sample {sample}; leave it out.")
    flat = flat / highest  # sums of the largest numbers are no numbers any more
    return np.asarray((flat * inside.reshape(flat.shape)).sum(axis=1) / flat.sum(axis=1))


def rank_accuracy(maps: Array, masks: Array) -> np.ndarray:
    """Return of each sample the share of its k highest positions that lie in the mask of k positions, 0 to 1.

    Relevance rank accuracy of Arras et al. 2022, arXiv:2003.07258. Of positions that tie for the last places each counts by the chance that
    it gets one, which is the mean over all orders of them: no order of the array and no seed decides. Chance gives the mask's share of the
    positions. Falls steadily as a map fades from the mask to noise.

    Args:
        maps: (n, *spatial), of any sign.
        masks: (n, *spatial), booleans or 0 and 1, a mask of each map with at least one position.

    Raises:
        DataError: if the shapes differ, a mask is empty or has other values, or a map is not finite.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import rank_accuracy
        >>> maps = np.array([[0.0, 2.0, 6.0, 8.0], [0.0, 8.0, 5.0, 5.0]])
        >>> rank_accuracy(maps, np.array([[False, True, False, True], [False, True, True, False]]))  # 8; 8 and one of two fives
        array([0.5 , 0.75])
    """
    values = finite_maps(maps, signed=True)
    inside = checked_masks(masks, values.shape)
    return np.array([_rank_share(one.ravel(), mask.ravel()) for one, mask in zip(values, inside, strict=True)])


def _rank_share(values: np.ndarray, inside: np.ndarray) -> float:
    count = int(inside.sum())
    last = np.partition(values, -count)[-count]
    above, tied = values > last, values == last
    places = count - int(above.sum())
    return float((int((above & inside).sum()) + places * int((tied & inside).sum()) / int(tied.sum())) / count)
