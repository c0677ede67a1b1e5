"""Scores of maps against masks, as M3d-Cam evaluates them, and the table of all of them."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from camtool.errors import DataError, closest, warn
from camtool.functional import resize
from camtool.io.atomic import write_atomically
from camtool.metrics import OVERLAPS

Metric: TypeAlias = str | Callable[[np.ndarray, np.ndarray], float]


def check_metric(metric: Metric) -> None:
    """Raise DataError if there is no metric of this name."""
    if isinstance(metric, str) and metric not in OVERLAPS:
        raise DataError(f"No metric '{metric}'{closest(metric, OVERLAPS)}; expected one of {', '.join(OVERLAPS)}, or a function.")


def compute_score(attention_map: Any, mask: Any, metric: Metric = "wioa", threshold: str | float | int = "otsu") -> float:
    """Return the score of one map (*spatial) against its mask, resized to the mask's size and scaled to [0, 1].

    NaN of a map that is the same everywhere, and of an empty mask, which M3d-Cam scores 0.

    Args:
        attention_map: an array or a tensor; of one with negative values the absolute values.
        mask: (*spatial) of 0 and 1; axes of size 1 in front do not count.
        metric: "wioa", "ioa", "iou" (see `camtool.metrics`), or a function of the map at the mask's size and the mask.
        threshold: "otsu", or a number from 0 to 1.

    Raises:
        DataError: if there is no such metric or threshold, or the mask has other values or another number of axes.

    Example:
        >>> import numpy as np
        >>> from camtool.compat import medcam
        >>> medcam.compute_score(np.array([[0.0, 2.0], [6.0, 8.0]]), np.array([[0, 0], [0, 1]]), metric="ioa", threshold=0.5)
        0.5
    """
    check_metric(metric)
    values, truth = torch.as_tensor(attention_map).detach().cpu().double(), torch.as_tensor(mask).detach().cpu()
    while truth.ndim > values.ndim and truth.shape[0] == 1:
        truth = truth[0]
    if truth.ndim != values.ndim:
        raise DataError(f"Expected a mask of the map's number of axes, {values.ndim}, got shape {tuple(truth.shape)}.")
    values = values.abs() if bool((values < 0).any()) else values
    large = resize(values[None], truth.shape).numpy()
    if callable(metric):
        return float(metric(large[0], truth.numpy()))
    if not bool(truth.any()):
        warn("An empty mask has no overlap: its score is NaN.")
        return math.nan
    return math.nan if large.min() == large.max() else float(OVERLAPS[metric](large, truth[None].numpy(), threshold)[0])


@dataclass
class Scores:
    """All scores so far: (score, layer, batch and sample) each."""

    rows: list[tuple[float, str, str]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write `scores.csv` and `mean_scores.csv`, the means over finite scores, into a folder; OutputError if that cannot be."""
        scores = [(score, layer, 0, name) for score, layer, name in self.rows]
        _write(folder / "scores.csv", ("evaluation", "layer", "class_label", "name"), scores)
        means = []
        for layer in dict.fromkeys(layer for _, layer, _ in self.rows):
            finite = [score for score, other, _ in self.rows if other == layer and math.isfinite(score)]
            means.append((sum(finite) / len(finite) if finite else math.nan, layer, 0))
        _write(folder / "mean_scores.csv", ("mean_score", "layer", "class_label"), means)


def _write(path: Path, head: tuple[str, ...], rows: list[Any]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([head, *rows])
    write_atomically(path, text.getvalue().encode())
