"""Accuracy of a run's network with some channels of its target layer only, on the run's own pictures."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.analysis.kept_channels import scores_of_kept_channels
from camtool.analysis.selection import masks_of
from camtool.analysis.sources import Source
from camtool.apis import Explainer
from camtool.errors import DataError
from camtool.store import MapRow, Store


@dataclass(frozen=True)
class SelectionEffect:
    """What the network answers with the selected channels only."""

    accuracy_before: float
    """Share of samples whose label is predicted, of the network as it is; NaN without labels."""
    accuracy_after: float
    same_answer: float
    """Share of samples whose predicted class stays the same."""
    count: int
    left_out: int
    """Samples without a map, or whose predicted class has no importance."""


def selection_effect(
    explainer: Explainer, store: Store, source: Source, masks: Float[np.ndarray, "k c"], root: str | Path | None, batch_size: int = 16
) -> SelectionEffect:
    """Return what is left of a network's answers with the channels only that are selected for the class that it predicts.

    The choice by the predicted class names that class, which favours it: see the table in the room's README.

    Args:
        explainer: of the run's network.
        source: method and layer of the selection.
        masks: by class which channels are kept; NaN where the class has no importance.
        root: folder that the paths in the store are below.
        batch_size: how many samples share a forward pass.

    Raises:
        ImageError: if a picture is missing.
        DataError: if the network gives no class scores, or no sample can be used.
    """
    model = explainer.network.model
    device = next(model.parameters()).device
    right = still = same = labelled = count = left_out = 0
    for rows, inputs in _batches(explainer, source.rows(store), Path(os.path.expanduser(root or "")), batch_size):
        usable = [k for k, row in enumerate(rows) if row["predicted"] is not None and not np.isnan(masks[row["predicted"]]).any()]
        left_out += len(rows) - len(usable)
        if not usable:
            continue
        predicted = [rows[k]["predicted"] for k in usable]
        chosen = torch.from_numpy(masks_of(masks, predicted)).float().unsqueeze(1).to(device)
        found = scores_of_kept_channels(model, source.layer, inputs[usable].to(device), chosen)
        before, after = found.before.argmax(dim=1).tolist(), found.after[:, 0].argmax(dim=1).tolist()
        labels = [rows[k]["label"] for k in usable]
        count += len(usable)
        same += sum(one == other for one, other in zip(before, after, strict=True))
        labelled += sum(label is not None for label in labels)
        right += sum(one == label for one, label in zip(before, labels, strict=True))
        still += sum(one == label for one, label in zip(after, labels, strict=True))
    if not count:
        raise DataError(f"No sample of '{store.folder}' has a map of {source} and a class with importance; expected at least one.")
    nothing = float("nan")
    accuracies = (right / labelled, still / labelled) if labelled else (nothing, nothing)
    return SelectionEffect(*accuracies, same / count, count, left_out)


def _batches(explainer: Explainer, rows: Store, root: Path, batch_size: int) -> Iterator[tuple[list[MapRow], Tensor]]:
    """Yield the samples' first rows with a map and their inputs, those of one size together."""
    held: list[tuple[MapRow, Tensor]] = []
    last = None
    for row in rows:
        if row.map is None or row["id"] == last:
            continue
        last = row["id"]
        _, inputs = explainer.preprocessed(root / row["path"])
        if held and (len(held) == batch_size or held[0][1].shape != inputs.shape):
            yield [kept for kept, _ in held], torch.cat([tensor for _, tensor in held])
            held = []
        held.append((row, inputs))
    if held:
        yield [kept for kept, _ in held], torch.cat([tensor for _, tensor in held])
