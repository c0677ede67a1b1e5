"""A tiny network, trained on scikit-learn's digits in seconds: convolutions, global average pooling, a linear layer."""

import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolWarning
from camtool.store import Store
from camtool.store.schema import Row
from tests.analysis.stores import write_store

LAYER = "[5]"
CHANNELS = 64
EPOCHS = 15


class Trained(NamedTuple):
    """A network in eval mode, and pictures that it has not seen."""

    model: nn.Sequential
    pictures: Tensor
    labels: Tensor
    seen: Tensor
    seen_labels: Tensor


@cache
def trained() -> Trained:
    """Return the network; trained once a process."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = torch.from_numpy(digits.images.astype(np.float32) / 16)[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    held_out = torch.arange(len(labels)) % 5 == 0
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, CHANNELS, 3, padding=1),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(CHANNELS, 10),
    ).double()  # rounding by another processor's kernels stays too small for another network to come of it
    seen, seen_labels = pictures[~held_out], labels[~held_out]
    optimiser = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.02, epochs=EPOCHS, steps_per_epoch=-(-len(seen) // 64))
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(seen)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(seen[chosen].double()), seen_labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    return Trained(model.float().eval(), pictures[held_out], labels[held_out], seen, seen_labels)


def store_of(folder: Path, pictures: Tensor, labels: Tensor, *, every_class: bool = False) -> Store:
    """Return the store of Grad-CAM maps of the predicted class, or of every class, with the channels' importances."""
    model = trained().model
    rows = []
    for start in range(0, len(pictures), 60):
        batch = pictures[start : start + 60]
        targets = [list(range(10))] * len(batch) if every_class else [[int(k)] for k in model(batch).argmax(dim=1)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CamtoolWarning)  # maps without positive evidence are maps
            result = CAM(model, LAYER)(batch, targets)
        with torch.no_grad():
            features = model[:6](batch)
            probabilities = result.logits.softmax(dim=1)
        for sample in range(len(batch)):
            for place, target in enumerate(targets[sample]):
                weights = model[8].weight[target] / features[sample, 0].numel()
                rows.append(
                    Row(
                        start + sample,
                        f"{start + sample}.png",
                        method="gradcam",
                        layer=LAYER,
                        label=int(labels[start + sample]),
                        predicted=int(result.logits[sample].argmax()),
                        target=target,
                        probability=float(probabilities[sample, target]),
                        logit=float(result.logits[sample, target]),
                        map=result.raw[LAYER][sample, place],
                        placement=(2.0, 2.0, 0.5, 0.5),
                        importances=(weights * features[sample].sum(dim=(1, 2))).detach(),
                    )
                )
    return write_store(folder, rows, class_names=list("0123456789"))
