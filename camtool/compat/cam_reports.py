"""What CAMAgent writes: maps, importances, and how maps agree with scores."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camtool.analysis.correlation import auroc, pearson
from camtool.analysis.importance import Importance
from camtool.analysis.normaliser import Normaliser
from camtool.analysis.sources import Source
from camtool.instrumentation.module_state import evaluating
from camtool.io.atomic import write_atomically
from camtool.io.images import encode
from camtool.models.class_labels import probabilities
from camtool.visualization.overlay import overlay
from camtool.visualization.scatter import Scatter, draw_scatters

EPS = 1e-7  # the framework's, of a drop in probability


@dataclass(frozen=True)
class Samples:
    """A batch that was explained."""

    inputs: Tensor
    maps: Tensor
    """(n, groups, k, *size), rescaled, at the input's size."""
    sums: Tensor
    """(n, groups, k): sums of the rescaled maps at the size of the features, mean over layers."""
    clipped: Tensor
    """As `sums`, of maps clipped to [0, 1]."""
    targets: Tensor
    """(n, k)"""
    logits: Tensor
    """(n, classes)"""
    labels: Sequence[int | None]
    is_regression: bool = False

    @property
    def probabilities(self) -> Tensor:
        """Probabilities (n, classes); of regression the outputs."""
        return scores_of(self.logits, is_regression=self.is_regression)


def scores_of(logits: Tensor, *, is_regression: bool) -> Tensor:
    """Return what a map is compared with: probabilities, of regression the outputs."""
    if is_regression:
        return logits
    return probabilities(logits)[0]


def write_importance(folder: Path, source: Source, found: Importance | None, normaliser: Normaliser) -> None:
    """Write the tables All, Target and Diff, if there are importances, and that of the range."""
    if found is not None:
        for name, text in found.csv().items():
            write_atomically(folder / f"{name}_{source.file_name}.csv", text.encode())
    if normaliser.table is not None:
        write_atomically(folder / f"{source.file_name}_maxmin.csv", normaliser.table.csv().encode())


def write_maps(folder: Path, first: int, maps: Tensor, inputs: Tensor | None) -> None:
    """Write the maps of each sample as an array (groups, categories, *size), and as a picture each where they have two axes.

    Args:
        first: number of the first sample.
        inputs: what pictures are drawn over, scaled to its own range; None: pictures are of the maps alone.
    """
    for number, of_sample in enumerate(maps.float().cpu(), start=first):
        buffer = io.BytesIO()
        np.save(buffer, of_sample.numpy())
        write_atomically(folder / f"sample_{number}.npy", buffer.getvalue())
        if of_sample.ndim != 4:
            continue
        below = None if inputs is None else _grey(inputs[number - first])
        for group, by_category in enumerate(of_sample):
            for column, values in enumerate(by_category.clamp(0, 1).numpy()):
                picture = np.zeros((*values.shape, 3), np.uint8) if below is None else below
                drawn = overlay(picture, values, opacity=1.0 if below is None else 0.5)
                write_atomically(folder / f"sample_{number}_group_{group}_category_{column}.png", encode(drawn, ".png"))


def _grey(inputs: Tensor) -> np.ndarray:
    """Return an input (c, h, w) as a picture, from its smallest value to its largest."""
    values = inputs[:3].float().cpu() if len(inputs) >= 3 else inputs[:1].float().cpu().expand(3, -1, -1)
    lowest, highest = values.amin(), values.amax()
    scaled = (values - lowest) / (highest - lowest).clamp(min=torch.finfo(torch.float32).tiny)
    return (scaled * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def write_evaluation(folder: Path, kind: str, batches: Sequence[Samples], model: nn.Module) -> dict[str, Any]:
    """Write how maps agree with scores as a table and, of sums, a plot; return the numbers by name.

    Args:
        kind: "corr", "corr_logit", "basic" or "logit".
    """
    found = _correlations(folder, kind, batches) if kind.startswith("corr") else _masked(kind, batches, model)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["what", "value"])
    writer.writerows(found.items())
    write_atomically(folder / f"{kind}.csv", text.getvalue().encode())
    return found


def _correlations(folder: Path, kind: str, batches: Sequence[Samples]) -> dict[str, Any]:
    def joined(values: list[Tensor]) -> np.ndarray:
        return torch.cat([part.double().flatten().cpu() for part in values]).numpy()

    sums, clipped = joined([batch.sums.sum(dim=1) for batch in batches]), joined([batch.clipped.sum(dim=1) for batch in batches])
    of = [batch.probabilities if kind == "corr" else batch.logits for batch in batches]
    scores = joined([values.gather(1, batch.targets.to(values.device)) for values, batch in zip(of, batches, strict=True)])
    predicted = joined([(batch.logits.argmax(dim=1, keepdim=True).cpu() == batch.targets).float() for batch in batches]) > 0
    targets = joined([batch.targets.float() for batch in batches]).astype(int)
    found: dict[str, Any] = {}
    for name, chosen in {"all": np.ones(len(sums), bool), **{f"class {k}": targets == k for k in sorted(set(targets.tolist()))}}.items():
        correlation = pearson(sums[chosen], scores[chosen])
        found |= {f"{name}: r": correlation.r, f"{name}: p": correlation.p, f"{name}: samples": int(chosen.sum())}
        found[f"{name}: r of the clipped map"] = pearson(clipped[chosen], scores[chosen]).r
        found[f"{name}: AUROC"] = auroc(sums[chosen], predicted[chosen])
    plot = Scatter(sums, scores, "sum of the rescaled map", "probability" if kind == "corr" else "logit", f"r = {found['all: r']:.4f}")
    write_atomically(folder / f"{kind}.png", draw_scatters([plot], [f"class {k}" for k in targets]))
    return found


def _masked(kind: str, batches: Sequence[Samples], model: nn.Module) -> dict[str, Any]:
    """Return drop, increase and accuracies of inputs that are multiplied by their clipped map: of the first category, or the label's."""
    before, after, right, still, labelled = [], [], 0, 0, 0
    for batch in batches:
        mask = batch.maps[:, :, 0].sum(dim=1).clamp(0, 1).unsqueeze(1)
        with evaluating(model), torch.no_grad():
            masked = model(batch.inputs * mask.to(batch.inputs))
        known = [label if label is not None else -1 for label in batch.labels]
        chosen = torch.tensor(known).clamp(min=0)[:, None] if kind == "logit" else batch.targets[:, :1]
        before.append(_compared(kind, batch.logits, batch).gather(1, chosen.to(masked.device)))
        after.append(_compared(kind, masked, batch).gather(1, chosen.to(masked.device)))
        truth = torch.tensor(known, device=masked.device)
        labelled += int((truth >= 0).sum())
        right += int((batch.logits.argmax(dim=1).to(truth.device) == truth).sum())
        still += int((masked.argmax(dim=1) == truth).sum())
    p, q = torch.cat(before).double(), torch.cat(after).double()
    return {
        "drop": float(((p - q).clamp(min=0) / (p + EPS)).mean()),
        "increase": float((p < q).double().mean()),
        "accuracy before": right / labelled if labelled else float("nan"),
        "accuracy after": still / labelled if labelled else float("nan"),
    }


def _compared(kind: str, logits: Tensor, batch: Samples) -> Tensor:
    """Return what is compared before and after: the logits, or what maps are compared with."""
    return logits if kind == "logit" else scores_of(logits, is_regression=batch.is_regression)
