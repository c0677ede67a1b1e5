"""Overlap of maps with masks of what should be seen: wIoA, IoA, IoU."""

from collections.abc import Callable

import numpy as np

from camtool.metrics.pairs import checked_masks
from camtool.metrics.thresholds import OTSU, Array, Threshold, reached, scaled


def wioa(maps: Array, masks: Array, threshold: Threshold = OTSU) -> np.ndarray:
    """Return of each sample the share of the attended map's weight that lies in the mask, 0 to 1 (weighted intersection over attention).

    sum over positions in both the mask and the attention of m / sum over positions in the attention of m, with the map m scaled to
    [0, 1]. Gotkowski et al. 2020, arXiv:2007.00453 (M3d-Cam), its metric for classifiers. 1: nothing outside of the mask is attended
    to, be it all of the mask or one position; the share of the mask in the attention of a map that lies anywhere.

    Args:
        maps: (n, *spatial), not negative.
        masks: (n, *spatial), booleans or 0 and 1, a mask of each map with at least one position.
        threshold: what of a scaled map is attention: "otsu", that of each map, or a number from 0 to 1.

    Raises:
        DataError: if the shapes differ, a mask is empty or has other values, a map is the same everywhere, negative or not finite.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import wioa
        >>> wioa(np.array([[0.0, 2.0, 6.0, 8.0]]), np.array([[False, False, True, True]]), threshold=0.25)  # (6 + 8) / (2 + 6 + 8)
        array([0.875])
    """
    on_scale, attention, inside = _prepared(maps, masks, threshold)
    weights = on_scale * attention
    return np.asarray((weights * inside).sum(axis=1) / weights.sum(axis=1))


def ioa(maps: Array, masks: Array, threshold: Threshold = OTSU) -> np.ndarray:
    """Return of each sample the share of the attended positions that lie in the mask, 0 to 1 (intersection over attention).

    |attention and mask| / |attention|: the precision of the thresholded map. M3d-Cam, arXiv:2007.00453. Arguments and errors are those
    of `wioa`.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import ioa
        >>> ioa(np.array([[0.0, 2.0, 6.0, 8.0]]), np.array([[True, False, True, True]]), threshold=0.5)
        array([1.])
    """
    _, attention, inside = _prepared(maps, masks, threshold)
    return np.asarray((attention & inside).sum(axis=1) / attention.sum(axis=1))


def iou(maps: Array, masks: Array, threshold: Threshold = OTSU) -> np.ndarray:
    """Return of each sample how much the attended positions and the mask are one, 0 to 1 (intersection over union).

    |attention and mask| / |attention or mask|; 1: they are the same. Jaccard's index, in M3d-Cam (arXiv:2007.00453) for segmentations.
    Arguments and errors are those of `wioa`.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import iou
        >>> iou(np.array([[0.0, 2.0, 6.0, 8.0]]), np.array([[True, True, True, True]]), threshold=0.5)
        array([0.5])
    """
    _, attention, inside = _prepared(maps, masks, threshold)
    return np.asarray((attention & inside).sum(axis=1) / (attention | inside).sum(axis=1))


OVERLAPS: dict[str, Callable[..., np.ndarray]] = {"wioa": wioa, "ioa": ioa, "iou": iou}
"""By name."""


def _prepared(maps: Array, masks: Array, threshold: Threshold) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scaled maps, their attention and the masks, (n, positions) each."""
    on_scale = scaled(maps)
    inside = checked_masks(masks, on_scale.shape)
    attention = reached(on_scale, threshold)
    return on_scale.reshape(len(on_scale), -1), attention.reshape(len(on_scale), -1), inside.reshape(len(on_scale), -1)
