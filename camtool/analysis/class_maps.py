"""Maps of a class, or of its errors, at one size: what is clustered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.analysis.sources import Source
from camtool.errors import DataError
from camtool.store import Store

_COLUMNS = ("id", "path", "label", "predicted", "target", "probability")

SIDE = 16
"""Cells along each axis that maps are resized to, over the whole input."""


@dataclass(frozen=True)
class ClassMaps:
    """Maps of samples of one class."""

    index: int
    """The class."""
    rows: Sequence[Mapping[str, Any]]
    """Of each its id, path, label, predicted, target and probability."""
    maps: Float[Tensor, "n cells"]
    """Positive part of each map, over its length, so that only where it is counts; zeros without any."""
    left_out: int
    """Number of samples of the class without a map."""


def class_maps(store: Store, source: Source, classes: Sequence[int], *, errors: bool = False, side: int = SIDE) -> dict[int, ClassMaps]:
    """Return by class the maps of the samples with this label (without labels: predicted so), each the one that explains the class.

    The store is read once, a shard at a time; of each map the resized one is kept.

    Args:
        errors: of the samples with this label that are predicted otherwise the map that explains the predicted class.
        side: cells along each axis that maps are resized to.

    Raises:
        DataError: if `side` is below 2.
    """
    if side < 2:
        raise DataError(f"Expected at least 2 cells along each axis of resized maps, got {side}.")
    rows: dict[int, list[Mapping[str, Any]]] = {index: [] for index in classes}
    vectors: dict[int, list[Tensor]] = {index: [] for index in classes}
    left_out = Counter[int]()
    for row in source.rows(store.where(label=[*classes, None])):
        label, predicted, target = row["label"], row["predicted"], row["target"]
        index = predicted if label is None else label
        if index not in rows:
            continue
        if row.map is None:
            left_out[index] += 1
            continue
        wanted = predicted if errors else index
        if (target is not None and target != wanted) or (errors and predicted == index):
            continue
        small = row.resized([side] * row.map.ndim).clamp(min=0).flatten()
        rows[index].append({name: row[name] for name in _COLUMNS})
        vectors[index].append(small / small.norm().clamp(min=torch.finfo(small.dtype).tiny))
    return {
        index: ClassMaps(index, rows[index], torch.stack(found) if found else torch.empty(0, 0), left_out[index])
        for index, found in vectors.items()
    }
