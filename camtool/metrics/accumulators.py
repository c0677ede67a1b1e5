"""Scores over the batches of a data set, in all and by class, and over the processes that share it: means, and sums of counts."""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import torch.distributed as dist

from camtool.errors import DataError
from camtool.metrics.box_accuracy import BoxAccuracy
from camtool.metrics.pairs import classes_of
from camtool.metrics.pixel_precision import PixelPrecision
from camtool.metrics.thresholds import Array

Counts: TypeAlias = BoxAccuracy | PixelPrecision
_Class: TypeAlias = tuple[Hashable, ...]
"""A class, or () where it is not known."""


@dataclass(frozen=True)
class MeanOfScores:
    """The mean of a score over samples.

    Example:
        >>> from camtool.metrics import MeanOfScores
        >>> MeanOfScores(0.5, 4, 0, {"cat": 0.25, "dog": 0.75}, {"cat": 2, "dog": 2}).mean_of_classes
        0.5
    """

    mean: float
    """Over all samples with a score; NaN without any."""
    count: int
    left_out: int
    """Number of samples whose score is not defined, NaN."""
    by_class: dict[Hashable, float]
    """Mean of each class's samples; {} if none was given."""
    counts: dict[Hashable, int]
    """Number of samples with a score, by class."""

    @property
    def mean_of_classes(self) -> float:
        """Mean of the classes' means, each class alike; NaN without classes."""
        return sum(self.by_class.values()) / len(self.by_class) if self.by_class else math.nan


class MeanScore:
    """Adds up any of the scores of `camtool.metrics`, batch by batch: `update`, `compute`, `reset`, as torchmetrics has them.

    Only sums and numbers are kept. Where torch.distributed is initialised, `compute` is of the samples of all processes; each must call
    it. Every sample is to be in one process.

    Args:
        score: a function that returns one score a sample, such as `deletion` or `iou`.
        settings: keywords of the function that stay the same.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import MeanScore, iou
        >>> total = MeanScore(iou, threshold=0.5)
        >>> mask = np.array([[False, True]])
        >>> total.update(np.array([[0.0, 1.0]]), mask, classes=["cat"])
        array([1.])
        >>> total.update(np.array([[1.0, 0.0]]), mask, classes=["dog"])
        array([0.])
        >>> total.compute().mean, total.compute().by_class
        (0.5, {'cat': 1.0, 'dog': 0.0})
    """

    def __init__(self, score: Callable[..., Any], **settings: Any) -> None:
        self._score = score
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._sums: dict[_Class, float] = defaultdict(float)
        self._counts: dict[_Class, int] = defaultdict(int)
        self._left_out = 0

    def update(self, *arguments: Any, classes: Array | Sequence[Hashable] | None = None, **keywords: Any) -> np.ndarray:
        """Return the scores of a batch, and add them.

        Args:
            arguments, keywords: of the score's function.
            classes: of each sample its class, a number or a name, or a tensor of numbers; None: it is not known.

        Raises:
            DataError: if the function does not return one score a sample, or there are not as many classes; nothing is added then.
        """
        found = self._score(*arguments, **self._settings | keywords)
        if not isinstance(found, np.ndarray) or found.ndim != 1:
            got = f"shape {found.shape}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
            raise DataError(f"Expected a function that returns one score a sample, got {got}; try one of a single method or layer.")
        if classes is not None and len(classes) != len(found):
            raise DataError(f"Expected a class of each of {len(found)} samples, got {len(classes)}.")
        keys: list[_Class] = [()] * len(found) if classes is None else [(one,) for one in classes_of(classes)]
        for key, value in zip(keys, found.tolist(), strict=True):
            if math.isnan(value):
                self._left_out += 1
                continue
            self._sums[key] += value
            self._counts[key] += 1
        return found

    def compute(self) -> MeanOfScores:
        """Return the mean of the samples so far, of all processes."""
        sums: dict[_Class, float] = defaultdict(float)
        counts: dict[_Class, int] = defaultdict(int)
        left_out = 0
        for own_sums, own_counts, own_left_out in _of_all_processes((dict(self._sums), dict(self._counts), self._left_out)):
            left_out += own_left_out
            for key, value in own_sums.items():
                sums[key] += value
                counts[key] += own_counts[key]
        count = sum(counts.values())
        named = {key: key[0] for key in counts if key}
        return MeanOfScores(
            mean=sum(sums.values()) / count if count else math.nan,
            count=count,
            left_out=left_out,
            by_class={name: sums[key] / counts[key] for key, name in named.items()},
            counts={name: counts[key] for key, name in named.items()},
        )


class SummedScore:
    """Adds up a figure of the data set as a whole, `max_box_accuracy` or `pxap`, batch by batch: `update`, `compute`, `reset`.

    One threshold is meant for all maps, so that no mean of scores is the figure: counts are added. Where torch.distributed is
    initialised, `compute` is of the samples of all processes, as of `MeanScore`.

    Args:
        score: a function that returns counts of a batch, two of which can be added.
        settings: keywords of the function that stay the same.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import SummedScore, pxap
        >>> total = SummedScore(pxap, step=0.5)
        >>> mask = np.array([[False, True]])
        >>> total.update(np.array([[0.0, 1.0]]), mask).area, total.update(np.array([[1.0, 0.0]]), mask).area
        (1.0, 0.5)
        >>> total.compute().area  # of both: half of the highest positions are right, and half of all
        0.5
    """

    def __init__(self, score: Callable[..., Any], **settings: Any) -> None:
        self._score = score
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._total: Counts | None = None

    def update(self, *arguments: Any, **keywords: Any) -> Counts:
        """Return the counts of a batch, and add them.

        Args:
            arguments, keywords: of the score's function.

        Raises:
            DataError: if the function returns no such counts; nothing is added then.
        """
        found = self._score(*arguments, **self._settings | keywords)
        if not isinstance(found, Counts):
            raise DataError(f"Expected max_box_accuracy or pxap, whose counts are added, got a {type(found).__name__}; try MeanScore.")
        self._total = _sum([self._total, found])
        return found

    def compute(self) -> Counts:
        """Return the counts of the samples so far, of all processes, with the figure; DataError if there is none."""
        found = _sum(_of_all_processes(self._total))
        if found is None:
            raise DataError("Expected at least one sample, got none; update first.")
        return found


def _of_all_processes(own: Any) -> list[Any]:
    """Return what each process has; of this one alone where there are no others."""
    if not (dist.is_available() and dist.is_initialized()):
        return [own]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, own)
    return parts


def _sum(parts: Sequence[Counts | None]) -> Counts | None:
    """Return the sum of counts, None without any."""
    known = [part for part in parts if part is not None]
    return reduce(operator.add, known) if known else None
