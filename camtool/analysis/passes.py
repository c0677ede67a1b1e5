"""Masked passes over a store: the pictures are read again, preprocessed as in the run, and masked by their maps."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from camtool.analysis.classifier import Classifier
from camtool.analysis.masked import MaskedBatch, MaskedEffect, masked_effect
from camtool.analysis.normaliser import Normaliser
from camtool.apis import Explainer
from camtool.errors import DataError
from camtool.store import MapRow, Store

_MOST_DIFFERING = 0.1  # share of samples that the network may answer otherwise than the run's, by rounding, with the same weights


class MaskedPasses:
    """Runs the network of a run again, on its pictures as they are and on what their maps show.

    Args:
        explainer: of the run's network.
        root: folder that the paths in the store are below; None: paths as they stand.
        batch_size: how many samples share a forward pass.
    """

    def __init__(self, explainer: Explainer, root: str | Path | None, batch_size: int = 16) -> None:
        self._explainer = explainer
        self._root = Path(os.path.expanduser(root or ""))
        self._batch_size = batch_size
        self._network = Classifier(explainer)

    def effect(self, store: Store, normaliser: Normaliser, kind: str = "basic") -> MaskedEffect:
        """Return what masking by the maps of a normaliser's method and layer does to the scores; see `masked_effect`.

        Raises:
            ImageError: if a picture is missing.
            DataError: if a picture has another size after preprocessing than in the run, or the network answers otherwise.
        """
        found = masked_effect(self._network, self._batches(store, normaliser), kind, probabilities=self._network.probabilities)
        if found.differing > _MOST_DIFFERING * found.count:
            raise DataError(
                f"The network answers otherwise than the run's for {found.differing} of {found.count} samples; expected the config, "
                "checkpoint and data of the run."
            )
        return found

    def _batches(self, store: Store, normaliser: Normaliser) -> Iterator[MaskedBatch]:
        held: list[tuple[MapRow, Tensor, Tensor]] = []
        for row, rescaled in normaliser.rows(store):
            _, inputs = self._explainer.preprocessed(self._root / row["path"])
            mask = MapRow(row.values, rescaled).resized()  # rescaled first, then resized
            if tuple(inputs.shape[2:]) != tuple(mask.shape):
                raise DataError(
                    f"'{row['path']}' is {tuple(inputs.shape[2:])} after preprocessing, in the run it was {tuple(mask.shape)}; "
                    "expected the run's config and data."
                )
            if held and (len(held) == self._batch_size or held[0][1].shape != inputs.shape):
                yield self._batch(held)
                held = []
            held.append((row, inputs, mask))
        if held:
            yield self._batch(held)

    def _batch(self, held: list[tuple[MapRow, Tensor, Tensor]]) -> MaskedBatch:
        rows = [row for row, _, _ in held]
        return MaskedBatch(
            torch.cat([inputs for _, inputs, _ in held]).to(self._network.device),
            torch.stack([mask for _, _, mask in held]).to(self._network.device),
            [row["target"] for row in rows],
            [row["label"] for row in rows],
            [row["predicted"] for row in rows],
        )
