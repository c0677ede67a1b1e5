"""Maps of a class, or of its errors, at one size: what is clustered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.analysis.sources import Source
from camtool.errors import DataError
from camtool.store import Store

SIDE = 16
"""Cells along each axis that maps are resized to, over the whole input."""


@dataclass(frozen=True)
class ClassMaps:
    """Maps of samples of one class."""

    index: int
    """The class."""
    rows: Sequence[Mapping[str, Any]]
    """Columns of each row, without the map."""
    maps: Float[Tensor, "n cells"]
    """Positive part of each map, over its length, so that only where it is counts; zeros without any."""
    left_out: int
    """Number of samples of the class without a map."""


def class_maps(store: Store, source: Source, index: int, *, errors: bool = False, side: int = SIDE) -> ClassMaps:
    """Return the maps of the samples with a label (without labels: predicted so), each the one that explains this class.

    Args:
        errors: of the samples with this label that are predicted otherwise the map that explains the predicted class.
        side: cells along each axis that maps are resized to.

    Raises:
        DataError: if `side` is below 2.
    """
    if side < 2:
        raise DataError(f"Expected at least 2 cells along each axis of resized maps, got {side}.")
    rows: list[Mapping[str, Any]] = []
    vectors: list[Tensor] = []
    left_out = 0
    for row in source.rows(store.where(label=[index, None])):
        label, predicted, target = row["label"], row["predicted"], row["target"]
        if label is None and predicted != index:
            continue
        if row.map is None:
            left_out += 1
            continue
        wanted = predicted if errors else index
        if (target is not None and target != wanted) or (errors and predicted == index):
            continue
        small = row.resized([side] * row.map.ndim).clamp(min=0).flatten()
        rows.append({name: value for name, value in row.values.items() if name != "importances"})
        vectors.append(small / small.norm().clamp(min=torch.finfo(small.dtype).tiny))
    return ClassMaps(index, rows, torch.stack(vectors) if vectors else torch.empty(0, 0), left_out)
