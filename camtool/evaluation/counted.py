"""Metrics of a data set as a whole: each sample gives counts, and the figure is one of the counts of all, not the mean of theirs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from camtool.metrics import max_box_accuracy, pxap
from camtool.metrics.box_accuracy import IOUS
from camtool.metrics.thresholds import Array

MASK, BOXES = "mask", "boxes"


@dataclass(frozen=True)
class Counts:
    """What one sample gives to a data set's figure."""

    alone: float
    """The figure of a data set of this sample alone."""
    counts: Integer[np.ndarray, " numbers"]


@dataclass(frozen=True)
class Counted:
    """How a metric's figure is made of the samples' counts.

    Example:
        >>> import numpy as np
        >>> from camtool.evaluation import chosen_metrics
        >>> (metric,) = chosen_metrics(["pxap"], {"pxap.step": 0.5})
        >>> found = metric.function(np.array([[0.0, 1.0, 3.0, 4.0]]), np.array([[False, False, True, True]]), **metric.protocol)
        >>> found.counts, metric.counted.figure(2.0 * found.counts, np.array(2), **metric.protocol)
        (array([0, 1, 1, 2, 0, 0], dtype=int32), array(1.))
    """

    against: str
    """"mask" or "boxes", on the network's input."""
    figure: Callable[..., Float[np.ndarray, "*r"]]
    """`figure(sums, samples, **protocol)`: of sums (*r, numbers) of the counts of (*r,) samples."""


def box_counts(maps: Array, boxes: np.ndarray, *, version: int, step: float | int) -> Counts:
    """Return whether a box of a sample is found, by least IoU and threshold; see `camtool.metrics.max_box_accuracy`."""
    found = max_box_accuracy(maps, boxes[None], version=version, step=step)
    return Counts(found.accuracy, found.hits.ravel().astype(np.int32))


def box_figure(sums: Float[np.ndarray, "*r numbers"], samples: Integer[np.ndarray, "*r"], *, version: int, step: float | int) -> np.ndarray:
    """Return `BoxAccuracy.accuracy` of sums of counts."""
    del step
    shares = sums.reshape(*sums.shape[:-1], len(IOUS[version]), -1) / samples[..., None, None]
    return np.asarray(shares.max(axis=-1).mean(axis=-1))


def pixel_counts(maps: Array, masks: np.ndarray, *, step: float | int) -> Counts:
    """Return the numbers of positions inside and outside of a sample's mask by threshold; see `camtool.metrics.pxap`."""
    found = pxap(maps, masks, step=step)
    return Counts(found.area, np.concatenate([found.inside, found.outside]).astype(np.int32))


def pixel_figure(sums: Float[np.ndarray, "*r numbers"], samples: Integer[np.ndarray, "*r"], *, step: float | int) -> np.ndarray:
    """Return `PixelPrecision.area` of sums of counts."""
    del samples, step
    inside, outside = np.split(sums, 2, axis=-1)
    found, wrong = (part[..., ::-1].cumsum(axis=-1)[..., ::-1] for part in (inside, outside))
    precision = found / np.maximum(found + wrong, 1)
    return np.asarray((precision * inside).sum(axis=-1) / inside.sum(axis=-1))
