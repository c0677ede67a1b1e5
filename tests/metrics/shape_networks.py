"""Small networks trained in seconds on scenes with a watermark that goes with a class to a known degree: what they look at is known."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.datasets.synthetic.scenes import ShapeScenes
from camtool.datasets.synthetic.watermarks import Watermark
from camtool.functional import resize
from tests.networks import CONV, GAP, NORM

SIZES = {1: 64, 2: 32}
CLASSES = {1: ("box", "double", "ramp"), 2: ("cross", "disc", "ring")}
"""Three each, so that they are learnt in seconds; the second one has the watermark."""
MARKED = 1
SCENES = {1: {"train": 750, "val": 300}, 2: {"train": 1500, "val": 300}}
EPOCHS, BATCH = {1: 12, 2: 20}, 32
"""The object is never learnt so well that a watermark in three of four scenes of its class would be of no use."""


class Drawn(NamedTuple):
    """Scenes of the classes, in order: inputs (n, 3, *spatial) in [0, 1], labels, and masks (n, *spatial) of watermarks and objects."""

    inputs: Tensor
    labels: Tensor
    watermarks: np.ndarray
    objects: np.ndarray


@cache
def drawn(rank: int, split: str, correlation: float) -> Drawn:
    """Return scenes with one shape, whose watermark goes with the marked class."""
    names = CLASSES[rank]
    scenes = ShapeScenes(
        split=split, rank=rank, size=SIZES[rank], distractors=0, watermark=Watermark(names[MARKED], correlation=correlation)
    )
    wanted = [number for number in range(SCENES[rank][split]) if scenes.classes[number % len(scenes.classes)] in names]  # classes alternate
    samples = [scenes.scene(number).sample() for number in wanted]
    inputs = torch.from_numpy(np.stack([np.moveaxis(sample.picture, -1, 0) for sample in samples])).float() / 255
    labels = torch.tensor([names.index(scenes.classes[sample.label]) for sample in samples])
    return Drawn(inputs, labels, np.stack([one.watermark_mask for one in samples]), np.stack([one.mask for one in samples]))


@cache
def trained(rank: int, correlation: float) -> nn.Sequential:
    """Return the network in eval mode; trained once a process."""
    seen = drawn(rank, "train", correlation)
    conv, norm = CONV[rank], NORM[rank]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            *(conv(3, 16, 3, stride=2, padding=1), norm(16), nn.ReLU()),
            *(conv(16, 32, 3, stride=2, padding=1), norm(32), nn.ReLU()),
            *(conv(32, 64, 3, padding=1), norm(64), nn.ReLU()),
            *(GAP[rank](1), nn.Flatten(), nn.Linear(64, 3)),
        )
        optimiser = torch.optim.Adam(model.parameters())
        steps = -(-len(seen.inputs) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.006, epochs=EPOCHS[rank], steps_per_epoch=steps)
        for _ in range(EPOCHS[rank]):
            for chosen in torch.randperm(len(seen.inputs)).split(BATCH):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(seen.inputs[chosen]), seen.labels[chosen]).backward()
                optimiser.step()
                schedule.step()
    return model.eval()


def maps_of(model: nn.Module, inputs: Tensor, classes: list[int]) -> Tensor:
    """Return Grad-CAM's maps (n, *spatial) of the last convolution."""
    maps = CAM(model, method="gradcam", target_layers="[8]")(inputs, classes).maps
    return resize(maps, tuple(inputs.shape[2:]))
