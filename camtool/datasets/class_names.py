"""Class names where OpenMMLab keeps them: in checkpoints and in data sets."""

from collections.abc import Mapping
from typing import Any


def names_in_checkpoint(meta: Mapping[str, Any]) -> list[str] | None:
    """Return the class names that OpenMMLab's training stores beside the weights."""
    dataset_meta = meta.get("dataset_meta")
    names = dataset_meta.get("classes") if isinstance(dataset_meta, dict) else None
    return as_names(names or meta.get("CLASSES"))


def names_in_dataset(dataset: Any) -> list[str] | None:
    """Return the class names that a data set of OpenMMLab has; None if it has none."""
    return as_names((getattr(dataset, "metainfo", None) or {}).get("classes"))


def as_names(names: Any) -> list[str] | None:
    """Return a list of names; None if it is something else, or empty."""
    return [str(name) for name in names] if isinstance(names, (list, tuple)) and names else None
