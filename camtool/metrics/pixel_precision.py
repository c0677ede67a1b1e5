"""Positions of a map at every threshold beside those of masks, over a data set: the area below precision over recall, PxAP."""

from dataclasses import dataclass

import numpy as np

from camtool.errors import DataError, times
from camtool.metrics.box_accuracy import STEP, thresholds_of
from camtool.metrics.pairs import checked_masks
from camtool.metrics.thresholds import Array, as_array, scaled


@dataclass(frozen=True)
class PixelPrecision:
    """Numbers of positions by threshold; those of two parts of a data set are added."""

    inside: np.ndarray
    """Of the masks, between each threshold and the next, (thresholds,)."""
    outside: np.ndarray
    """Of what is not in the masks, likewise."""
    step: float | int = STEP

    @property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """(precision, recall) at each threshold, the highest first; of thresholds that no position reaches none."""
        found, wrong = self.inside[::-1].cumsum(), self.outside[::-1].cumsum()
        some = found + wrong > 0
        return (found / np.maximum(found + wrong, 1))[some], (found / self.inside.sum())[some]

    @property
    def area(self) -> float:
        """The sum over thresholds of precision times the rise of recall, 0 to 1."""
        precision, recall = self.curve
        return float((precision * np.diff(recall, prepend=0)).sum())

    def __add__(self, other: "PixelPrecision") -> "PixelPrecision":
        if self.step != other.step:
            raise DataError(f"Expected counts of one protocol, got steps {self.step} and {other.step}.")
        return PixelPrecision(self.inside + other.inside, self.outside + other.outside, self.step)


def pxap(maps: Array, masks: Array, *, ignored: Array | None = None, step: float | int = STEP) -> PixelPrecision:
    """Return precision and recall of the positions at or above each threshold of the scaled maps, all samples' together (PxAP).

    Choe et al. 2020, arXiv:2001.07437, for data sets with masks; `area` is the score. One threshold is meant for all samples, so that it
    is no mean of theirs. Falls steadily as maps fade from the masks to noise; chance gives the masks' share of the positions.

    Args:
        maps: (n, *spatial), not negative, each scaled to [0, 1].
        masks: (n, *spatial), booleans or 0 and 1, a mask of each map with at least one position.
        ignored: positions that count neither as right nor as wrong, likewise; None: none.
        step: between thresholds, which are 0, step, 2 step … 1.

    Raises:
        DataError: if the shapes differ, a mask is empty or has other values, a map is the same everywhere, negative or not finite.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import pxap
        >>> pxap(np.array([[0.0, 1.0, 3.0, 4.0]]), np.array([[False, True, False, True]])).area  # 1/2 * 1 + 1/2 * 2/3
        0.8333333333333333
    """
    on_scale = scaled(maps)
    inside = checked_masks(masks, on_scale.shape)
    counted = np.ones(inside.shape, bool) if ignored is None else as_array(ignored) == 0
    if counted.shape != inside.shape:
        raise DataError(f"Expected ignored positions of the maps' shape, {times(inside.shape)}, got {times(counted.shape)}.")
    if not (inside & counted).any():
        raise DataError("Expected a position of a mask that is not ignored, got none.")
    thresholds = np.append(thresholds_of(step), 1.0)
    levels = np.searchsorted(thresholds, on_scale, side="right") - 1
    found, wrong = (np.bincount(levels[part & counted], minlength=len(thresholds)) for part in (inside, ~inside))
    return PixelPrecision(found, wrong, step)
