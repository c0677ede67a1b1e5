"""Class names and probabilities of a classifier."""

import re
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from camtool.errors import TargetError, closest
from camtool.models.configs import as_mapping, find_test_dataset


def class_names(config: Config, meta: dict[str, Any], classes: int) -> tuple[list[str] | None, str]:
    """Return (names, remark): the checkpoint's, else the dataset's; None and why where their count is not `classes`."""
    for names, owner in ((_of_checkpoint(meta), "checkpoint"), (_of_dataset(config), "dataset")):
        if names is None:
            continue
        if len(names) == classes:
            return names, ""
        return None, f"the {owner} names {len(names)} classes, the network has {classes}: indices are shown instead of names"
    return None, "neither checkpoint nor dataset names the classes: indices are shown"


def _of_checkpoint(meta: dict[str, Any]) -> list[str] | None:
    dataset_meta = meta.get("dataset_meta")
    names = dataset_meta.get("classes") if isinstance(dataset_meta, dict) else None
    return _as_names(names or meta.get("CLASSES"))


def _of_dataset(config: Config) -> list[str] | None:
    dataset = find_test_dataset(config)
    if not dataset:
        return None
    names = _as_names(as_mapping(dataset.get("metainfo"), "metainfo").get("classes") or dataset.get("classes"))
    if names is not None:
        return names
    from mmpretrain.registry import DATASETS

    dataset_class = DATASETS.get(dataset["type"]) if isinstance(dataset.get("type"), str) else dataset.get("type")
    return _as_names((getattr(dataset_class, "METAINFO", None) or {}).get("classes"))


def _as_names(names: Any) -> list[str] | None:
    return [str(name) for name in names] if isinstance(names, (list, tuple)) and names else None


def find_class(wanted: str, names: Sequence[str] | None, classes: int) -> int:
    """Return the index that `wanted` means: an index, a whole class name, or one of its comma-separated synonyms, in any case.

    Raises:
        TargetError: if there is none (the message has the nearest names), or several (it lists their indices).
    """
    text = wanted.strip()
    if re.fullmatch(r"[+-]?\d+", text):
        index = int(text)
        if not 0 <= index < classes:
            raise TargetError(f"Class index {index} is out of range: the network has {classes} classes, 0 to {classes - 1}.")
        return index
    if names is None:
        raise TargetError(f"Class '{wanted}': this network's classes have no names; give an index, 0 to {classes - 1}.")
    folded = text.casefold()
    whole = [index for index, name in enumerate(names) if name.casefold() == folded]
    found = whole or [index for index, name in enumerate(names) if folded in [part.strip() for part in name.casefold().split(",")]]
    if not found:
        synonyms = [part.strip() for name in names for part in name.split(",")]
        raise TargetError(f"No class '{wanted}'{closest(wanted, synonyms)}.")
    if len(found) > 1:
        listed = ", ".join(f"{index} ({names[index]})" for index in found)
        raise TargetError(f"Class name '{wanted}' is ambiguous; give one of the indices: {listed}.")
    return found[0]


def short_name(name: str) -> str:
    """Return the first of a name's comma-separated synonyms."""
    return name.split(",", maxsplit=1)[0].strip()


def probabilities(model: nn.Module, logits: Tensor) -> tuple[Tensor, str]:
    """Return (probabilities in [0, 1] shaped like `logits` (n, classes), "softmax" or "sigmoid").

    Sigmoid for heads that decide on each class by itself, and for a single logit.
    """
    from mmpretrain.models.heads import MultiLabelClsHead

    logits = logits.float()
    if logits.shape[-1] == 1 or isinstance(getattr(model, "head", None), MultiLabelClsHead):
        return logits.sigmoid(), "sigmoid"
    return logits.softmax(dim=-1), "softmax"
