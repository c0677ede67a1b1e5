"""Accuracy of a network that keeps only the channels that matter to the class it predicts, over the pictures of a store."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camtool.analysis.importance import Importance
from camtool.analysis.kept_channels import scores_of_kept_channels
from camtool.analysis.selection import masks_of, selection_masks
from camtool.analysis.sources import Source
from camtool.apis import Explainer
from camtool.errors import DataError
from camtool.instrumentation.network_inputs import network_inputs
from camtool.store import Store


@dataclass(frozen=True)
class Selection:
    """How channels are chosen, as of `selection_masks`."""

    mode: str
    ratio: float = 1.0
    index: Sequence[int] = ()


@dataclass(frozen=True)
class KeptAccuracy:
    """Accuracy with all channels and with each selection, over samples with a label."""

    before: float
    after: tuple[float, ...]
    channels: tuple[float, ...]
    """Of each selection the mean number of channels that are kept."""
    count: int
    left_out: int
    """Number of samples without a label or a map, or whose predicted class has no importance."""


def kept_accuracy(
    explainer: Explainer,
    store: Store,
    source: Source,
    found: Importance,
    selections: Sequence[Selection],
    *,
    root: str | Path | None,
    batch_size: int = 16,
) -> KeptAccuracy:
    """Return the accuracy with some channels of a method's target layer only, those of the class that the network predicts.

    What is kept depends on the prediction, so part of the accuracy is the choice itself; see the README.

    Args:
        store: whose pictures are asked; their rows may be of another store than those that the importance was averaged over.
        root: folder that the paths in the store are below; None: paths as they stand.

    Raises:
        ImageError: if a picture is missing.
        DataError: if no sample can be asked, or the layer has another number of channels.
    """
    masks = [selection_masks(found, one.mode, ratio=one.ratio, index=one.index) for one in selections]
    right = np.zeros(len(selections) + 1)
    channels = np.zeros(len(selections))
    count = left_out = 0
    layout = explainer.settings.cam["layout"]
    network, cam = explainer.network, explainer.cam
    model = network.model
    device = next(model.parameters()).device
    for rows, inputs in _batches(explainer, store, source, Path(os.path.expanduser(root or "")), batch_size):
        usable = [k for k, row in enumerate(rows) if row["label"] is not None and _has_masks(masks, row["predicted"])]
        left_out += len(rows) - len(usable)
        if not usable:
            continue
        predicted = [rows[k]["predicted"] for k in usable]
        chosen = np.stack([masks_of(mask, predicted) for mask in masks], axis=1)
        arguments = network.inputs(inputs[usable].to(device), cam.input_axes)
        given = network_inputs(model, arguments, network.source.picture_input, cam.input_axes, output=cam.output)
        kept = scores_of_kept_channels(model, source.layer, given, torch.from_numpy(chosen).float(), layout=layout)
        before, after = kept.accuracy([rows[k]["label"] for k in usable])
        right += len(usable) * np.array([before, *after])
        channels += chosen.sum(axis=(0, 2))
        count += len(usable)
    if not count:
        raise DataError(f"No sample of '{store.folder}' has a label and a predicted class with importance; {left_out} are left out.")
    shares = (right / count).tolist()
    return KeptAccuracy(shares[0], tuple(shares[1:]), tuple((channels / count).tolist()), count, left_out)


def _has_masks(masks: Sequence[np.ndarray], index: int | None) -> bool:
    return index is not None and all(index < len(mask) and not np.isnan(mask[index]).any() for mask in masks)


def _batches(
    explainer: Explainer, store: Store, source: Source, root: Path, batch_size: int
) -> Iterator[tuple[list[Mapping[str, Any]], Tensor]]:
    """Yield rows, one a sample, and their preprocessed pictures (n, c, h, w), all of one size."""
    rows: list[Mapping[str, Any]] = []
    held: list[Tensor] = []
    last = -1
    for table in source.rows(store).tables(["id", "path", "label", "predicted", "min"]):
        for row in table.to_pylist():
            if row["id"] == last or row["min"] is None:  # several targets of one sample; no map
                continue
            last = row["id"]
            _, inputs = explainer.preprocessed(root / row["path"])
            if held and (len(held) == batch_size or held[0].shape != inputs.shape):
                yield rows, torch.cat(held)
                rows, held = [], []
            rows.append({"label": row["label"], "predicted": row["predicted"]})
            held.append(inputs)
    if held:
        yield rows, torch.cat(held)
