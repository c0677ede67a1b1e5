"""What comes with maps, one for each: masks, seeds, labels; checked."""

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from camtool.errors import DataError, times
from camtool.metrics.settings import whole
from camtool.metrics.thresholds import Array, as_array

Seed: TypeAlias = int | Sequence[int]
"""A number, to which the position in the batch is added, or one for each sample, such as its number in the data set."""


def checked_masks(masks: Array, shape: Sequence[int]) -> np.ndarray:
    """Return masks of maps of this shape as booleans.

    Raises:
        DataError: if the shapes differ, or a mask is empty or has other values than 0 and 1.
    """
    inside = as_array(masks)
    if inside.shape != tuple(shape):
        raise DataError(
            f"Expected masks (n, *spatial) of the maps' shape, {times(shape)}, got {times(inside.shape) or 'one value'}; "
            "resize the maps to the masks."
        )
    for sample, mask in enumerate(inside):
        others = mask[(mask != 0) & (mask != 1)]
        if others.size:
            raise DataError(f"Expected a mask of 0 and 1, got {others.flat[0]} in that of sample {sample}; compare with the label meant.")
        if not mask.any():
            raise DataError(f"Expected a mask with at least one position, got an empty one of sample {sample}; leave the sample out.")
    return inside != 0


def seeds_of(seed: Seed, count: int) -> list[int]:
    """Return a seed for each of `count` samples; DataError if there are not as many, or one is negative."""
    expected = f"a seed of 0 or more, or one for each of {count} samples"
    given: Any = seed.tolist() if isinstance(seed, (Tensor, np.ndarray, np.generic)) else seed
    if not isinstance(given, Sequence) or isinstance(given, str):
        first = whole(given, expected, 0, 2**63 - 1 - count)
        return [first + k for k in range(count)]
    seeds = [whole(one, expected, 0, 2**63 - 1) for one in given]
    if len(seeds) != count:
        raise DataError(f"Expected {expected}, got {len(seeds)} seeds.")
    return seeds


def classes_of(labels: Array | Sequence[Hashable]) -> list[Hashable]:
    """Return the class of each sample as a number or a name; of arrays and tensors their values, which are equal where classes are.

    Raises:
        DataError: if one is several numbers, or a list.

    Example:
        >>> import torch
        >>> classes_of(torch.tensor([2, 2])), classes_of(["cat", None])
        ([2, 2], ['cat', None])
    """
    try:
        found = [label.item() if isinstance(label, (Tensor, np.ndarray, np.generic)) else label for label in labels]
        set(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError("Expected of each sample its class, a number or a name, got lists or several numbers.") from error
    return found


def by_class(scores: Array | Sequence[Any], labels: Array | Sequence[Hashable]) -> dict[Hashable, float]:
    """Return by class the mean of its samples' scores, in the order in which classes first appear.

    Args:
        scores: (n,), such as the hits of `pointing`.
        labels: the class of each sample, numbers or names.

    Raises:
        DataError: if there are none, or not as many labels as scores.

    Example:
        >>> from camtool.metrics import by_class
        >>> by_class([True, False, True], ["cat", "cat", "dog"])
        {'cat': 0.5, 'dog': 1.0}
    """
    values, named = as_array(scores, np.float64), classes_of(labels)
    if values.ndim != 1 or not len(values) or len(values) != len(named):
        raise DataError(f"Expected scores (n,) and a label for each, got scores of shape {values.shape} and {len(named)} labels.")
    members: dict[Hashable, list[float]] = {}
    for value, label in zip(values.tolist(), named, strict=True):
        members.setdefault(label, []).append(value)
    return {label: sum(found) / len(found) for label, found in members.items()}


def mean_of_classes(scores: Array | Sequence[Any], labels: Array | Sequence[Hashable]) -> float:
    """Return the mean over classes of the mean of their samples' scores: each class counts the same, however many samples it has.

    The accuracy of the pointing game (Zhang et al. 2016, arXiv:1608.00507). Arguments and errors are those of `by_class`.

    Example:
        >>> from camtool.metrics import mean_of_classes
        >>> mean_of_classes([True, False, True], ["cat", "cat", "dog"])  # (1/2 + 1) / 2
        0.75
    """
    means = by_class(scores, labels)
    return sum(means.values()) / len(means)
