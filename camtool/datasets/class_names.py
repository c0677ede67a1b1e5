"""Read class names from the places where OpenMMLab stores them: checkpoints and data sets."""

from collections.abc import Mapping
from typing import Any


def names_in_checkpoint(meta: Mapping[str, Any]) -> list[str] | None:
    """Return the class names in a checkpoint's `meta` (`dataset_meta`, or `CLASSES` before mmengine); None if it has none."""
    dataset_meta = meta.get("dataset_meta")
    names = dataset_meta.get("classes") if isinstance(dataset_meta, dict) else None
    return as_names(names or meta.get("CLASSES"))


def names_in_dataset(dataset: Any) -> list[str] | None:
    """Return the class names in the `metainfo` of an OpenMMLab data set; None if it has none."""
    return as_names((getattr(dataset, "metainfo", None) or {}).get("classes"))


def as_names(names: Any) -> list[str] | None:
    """Return `names` as a list of str; None if it is not a list or tuple, or empty."""
    return [str(name) for name in names] if isinstance(names, (list, tuple)) and names else None
