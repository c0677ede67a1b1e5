"""A small network, trained on the shapes data in seconds: convolutions, global average pooling, a linear layer."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from camtool.datasets.synthetic.scenes import ShapeScenes

SIDE, CHANNELS, LAYER = 32, 64, "[8]"
SCENES, EPOCHS = {"train": 1500, "val": 400}, 20
CLASSES = ("cross", "disc", "ring")
"""Of the six of the shapes data, in scenes of one shape, so that a small network learns them in seconds."""
MARKED, SHARE = "disc", 0.4


class Trained(NamedTuple):
    """A network in eval mode, pictures (n, 3, h, w) in [0, 1] that it has not seen, and those that it has."""

    model: nn.Sequential
    pictures: Tensor
    labels: Tensor
    marked: np.ndarray
    """Which of the pictures have the watermark."""
    seen: Tensor
    seen_labels: Tensor


def _drawn(split: str, *, watermark: bool) -> tuple[Tensor, Tensor, np.ndarray]:
    scenes = ShapeScenes(split=split, size=SIDE, distractors=0)
    wanted = [number for number in range(SCENES[split]) if scenes.classes[number % len(scenes.classes)] in CLASSES]  # classes alternate
    samples = [scenes.scene(number).sample() for number in wanted]
    labels = np.array([CLASSES.index(scenes.classes[sample.label]) for sample in samples])
    pictures = np.stack([sample.picture for sample in samples])
    marked = np.zeros(len(labels), dtype=bool)
    if watermark:
        discs = np.flatnonzero(labels == CLASSES.index(MARKED))
        marked[discs[np.arange(len(discs)) % 5 < 5 * SHARE]] = True
        stripes = np.indices((6, 6)).sum(axis=0) % 4 < 2
        for number in np.flatnonzero(marked):
            corner = pictures[number, -7:-1, 1:7].astype(int) + np.where(stripes, 40, -40)[:, :, None]
            pictures[number, -7:-1, 1:7] = corner.clip(0, 255)
    inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return inputs, torch.from_numpy(labels.astype(np.int64)), marked


@cache
def trained(*, watermark: bool) -> Trained:
    """Return the network; trained once a process.

    Args:
        watermark: plant stripes in a corner of two of five discs, of the pictures that are seen and of those that are not.
    """
    seen, seen_labels, _ = _drawn("train", watermark=watermark)
    pictures, labels, marked = _drawn("val", watermark=watermark)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, len(CLASSES))),
        ).double()  # rounding by another processor's kernels stays too small for another network to come of it
        optimiser = torch.optim.Adam(model.parameters())
        steps = -(-len(seen) // 32)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.006, epochs=EPOCHS, steps_per_epoch=steps)
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(seen)).split(32):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(seen[chosen].double()), seen_labels[chosen]).backward()
                optimiser.step()
                schedule.step()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):  # its running figures are those of the last, small batches
                part.reset_running_stats()
                part.momentum = None
        with torch.no_grad():
            model(seen.double())
    return Trained(model.float().eval(), pictures, labels, marked, seen, seen_labels)
