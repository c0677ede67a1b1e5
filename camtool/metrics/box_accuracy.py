"""Boxes around what is highest in a map, beside those of the object: MaxBoxAcc of weakly supervised localisation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from camtool.errors import DataError
from camtool.metrics.components import Components, components
from camtool.metrics.settings import number, several_numbers, whole
from camtool.metrics.thresholds import Array, as_array, scaled

STEP = 0.001
_LEAST_STEP = 1e-5  # finer ones would be more thresholds than a map has values
IOUS = {1: (0.5,), 2: (0.3, 0.5, 0.7)}
"""By version the least IoU of a box that counts as found."""


@dataclass(frozen=True)
class BoxAccuracy:
    """How often a box was found, by least IoU and threshold; those of two parts of a data set are added."""

    hits: np.ndarray
    """Number of samples whose box was found, (ious, thresholds)."""
    samples: int
    ious: tuple[float, ...]
    step: float | int = STEP

    @property
    def curves(self) -> np.ndarray:
        """Share of the samples whose box was found, (ious, thresholds)."""
        return self.hits / self.samples

    @property
    def accuracy(self) -> float:
        """The mean over least IoUs of the share at the best threshold of each, 0 to 1."""
        return float(self.curves.max(axis=1).mean())

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The best threshold of each least IoU, the first of several."""
        return tuple(thresholds_of(self.step)[self.hits.argmax(axis=1)].tolist())

    def __add__(self, other: "BoxAccuracy") -> "BoxAccuracy":
        if (self.ious, self.step) != (other.ious, other.step):
            raise DataError(f"Expected counts of one protocol, got IoUs {self.ious} and {other.ious}, steps {self.step} and {other.step}.")
        return BoxAccuracy(self.hits + other.hits, self.samples + other.samples, self.ious, self.step)


def max_box_accuracy(
    maps: Array, boxes: Sequence[Array] | Array, *, version: int = 2, ious: Sequence[float] = (), step: float | int = STEP
) -> BoxAccuracy:
    """Return how often a box around what is highest in a map is that of the object, at the best threshold for all samples (MaxBoxAcc).

    Choe et al. 2020, arXiv:2001.07437, extended in arXiv:2007.04178. At each threshold of the scaled map, its largest connected part's box
    beside the first box of the sample, found from an IoU of .5 (`version=1`); or the best pair of a part and a box, at IoUs of .3, .5 and
    .7, of which the mean is taken (`version=2`). Falls steadily as maps fade from the objects to noise.

    Differs from the paper's code, which rounds maps to 256 levels, takes the outlines of holes for parts, too, the largest by the area
    within its outline, and counts a box one position larger: here all thresholds are exact, the largest part has most positions (of equal
    ones the first in the array), and boxes end where positions do.

    Args:
        maps: (n, *spatial), not negative, each scaled to [0, 1].
        boxes: of each sample (k, rank, 2): (first, last + 1) along each axis, in positions of the map; or of all (n, k, rank, 2).
        ious: the least IoUs; (): those of the version.
        step: between thresholds, which are 0, step, 2 step … below 1.

    Raises:
        DataError: if a sample has no box, or an empty one; if a map is the same everywhere, negative or not finite.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import max_box_accuracy
        >>> found = max_box_accuracy(np.array([[0.0, 5.0, 10.0, 5.0, 0.0]]), [np.array([[[1, 4]]])], version=1)
        >>> found.accuracy, found.thresholds  # all five positions have an IoU of 3/5 already
        (1.0, (0.0,))
    """
    version = whole(version, f"MaxBoxAcc of version {' or '.join(map(str, IOUS))}", min(IOUS), max(IOUS))
    least = tuple(several_numbers(ious, "least IoUs above 0, up to 1")) or IOUS[version]
    if not all(0 < share <= 1 for share in least):
        raise DataError(f"Expected least IoUs above 0, up to 1, got {least}.")
    overlaps = box_overlaps(maps, boxes, version=version, step=step)
    hits = np.stack([(overlaps >= share).sum(axis=0) for share in least])
    return BoxAccuracy(hits, len(overlaps), least, step)


def box_overlaps(maps: Array, boxes: Sequence[Array] | Array, *, version: int = 2, step: float | int = STEP) -> np.ndarray:
    """Return of each sample at each threshold the IoU that `max_box_accuracy` compares, (n, thresholds); its arguments and errors.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics.box_accuracy import box_overlaps
        >>> box_overlaps(np.array([[0.0, 5.0, 10.0, 5.0, 0.0]]), [np.array([[[1, 4]]])], step=0.25).round(3)
        array([[0.6  , 1.   , 1.   , 0.333]])
    """
    on_scale = scaled(maps)
    thresholds = thresholds_of(step)
    if not isinstance(boxes, (Sequence, np.ndarray, Tensor)) or isinstance(boxes, str) or not getattr(boxes, "ndim", 1):
        raise DataError(f"Expected boxes of each of {len(on_scale)} samples, got {boxes!r}.")
    if len(boxes) != len(on_scale):
        raise DataError(f"Expected boxes of each of {len(on_scale)} samples, got those of {len(boxes)}.")
    found = np.zeros((len(on_scale), len(thresholds)))
    for sample, (one, given) in enumerate(zip(on_scale, boxes, strict=True)):
        wanted = _checked(given, one.ndim, sample)
        parts = components(np.searchsorted(thresholds, one, side="right") - 1)  # the last threshold that a position reaches
        # Each part beside the levels for which it stands.
        lengths = parts.highest - parts.lowest + 1
        part = np.repeat(np.arange(len(lengths)), lengths)
        level = np.arange(len(part)) - np.repeat(lengths.cumsum() - lengths - parts.lowest, lengths)
        if version == 1:
            part, level = _largest(parts, part, level, one.size)
            wanted = wanted[:1]
        np.maximum.at(found[sample], level, _ious(parts.box, wanted).max(axis=1)[part])
    return found


def thresholds_of(step: float | int) -> np.ndarray:
    """Return the thresholds from 0 to below 1; DataError if the step is no number from 1e-5 to 1."""
    expected = f"a step between thresholds from {_LEAST_STEP} to 1, such as {STEP}"
    step = number(step, expected, lambda value: _LEAST_STEP <= value <= 1)
    return np.arange(math.ceil(1 / step - 1e-9)) / (1 / step)  # 3 * 0.2 is above 0.6


def _largest(parts: Components, part: np.ndarray, level: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    score = (parts.count * size + size - 1 - parts.first)[part]
    best = np.zeros(level.max() + 1, np.int64)
    np.maximum.at(best, level, score)
    chosen = score == best[level]
    return part[chosen], level[chosen]


def _ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU of each box (a, rank, 2) with each of the others (b, rank, 2), (a, b)."""
    first, second = boxes[:, None].astype(np.float64), others[None]
    shared = (np.minimum(first[..., 1], second[..., 1]) - np.maximum(first[..., 0], second[..., 0])).clip(min=0).prod(axis=2)
    volumes = [(box[..., 1] - box[..., 0]).prod(axis=2) for box in (first, second)]
    return np.asarray(shared / (volumes[0] + volumes[1] - shared))


def _checked(boxes: Array, rank: int, sample: int) -> np.ndarray:
    given = as_array(boxes, np.float64)
    if given.ndim != 3 or given.shape[1:] != (rank, 2) or not len(given):
        raise DataError(f"Expected boxes (k, {rank}, 2) of sample {sample}, at least one, got shape {given.shape}; leave it out.")
    if not np.isfinite(given).all() or (given[..., 0] >= given[..., 1]).any():
        raise DataError(f"Expected boxes (first, last + 1) along each axis, got an empty one of sample {sample}.")
    return given
