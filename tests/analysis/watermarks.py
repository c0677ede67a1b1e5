"""Shapes with a watermark that goes with one class, and a network, made by hand, that takes it for the class."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from camtool import CAM
from camtool.datasets.synthetic.scenes import ShapeScenes
from camtool.store import Store
from camtool.store.schema import Row
from tests.analysis.stores import write_store

MARKED = "disc"
SHARE = 0.4
SIDE = 64


def watermarked(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return pictures (n, h, w, 3) in uint8, labels, which of them have the watermark (two of five discs), and the names of the classes."""
    scenes = ShapeScenes(split="val", size=SIDE, seed=seed)
    samples = [scenes.scene(number).sample() for number in range(count)]
    labels = np.array([sample.label for sample in samples])
    discs = np.flatnonzero(labels == scenes.classes.index(MARKED))
    marked = np.zeros(count, dtype=bool)
    marked[discs[np.arange(len(discs)) % 5 < 5 * SHARE]] = True
    pictures = np.stack([sample.picture for sample in samples])
    mark = np.indices((8, 8)).sum(axis=0) % 4 < 2  # white stripes
    for number in np.flatnonzero(marked):
        pictures[number, -12:-4, 4:12][mark] = 255
    return pictures, labels, marked, scenes.classes


class Watched(nn.Module):
    """Scores: edges for every class, alike; for the marked class also white pixels, which only a watermark has."""

    def __init__(self, classes: int, marked: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate"), nn.ReLU(), nn.AvgPool2d(8))
        self.head = nn.Linear(3, classes)
        with torch.no_grad():
            weights = torch.zeros(3, 3, 3, 3)
            weights[0, :, 1, 1] = 1 / 3  # white
            weights[1, :, 1, 1], weights[1, :, 1, 2] = 1 / 3, -1 / 3  # edges, brighter to the left
            weights[2, :, 1, 1], weights[2, :, 2, 1] = 1 / 3, -1 / 3  # edges, brighter above
            self.features[0].weight.copy_(weights)
            self.features[0].bias.copy_(torch.tensor([-0.97, -0.05, -0.05]))
            self.head.weight.fill_(1.0)
            self.head.weight[:, 0] = 0.0
            self.head.weight[marked, 0] = 100.0
            self.head.bias.zero_()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.features(pictures).mean(dim=(2, 3)))


def watermark_store(folder: Path, count: int = 300) -> tuple[Store, set[int]]:
    """Write the pictures and a store of the Grad-CAM maps of their labels; return the store, and the ids that have the watermark."""
    pictures, labels, marked, names = watermarked(count)
    model = Watched(len(names), names.index(MARKED)).eval()
    inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    result = CAM(model, "features")(inputs, labels.tolist())
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / "pictures" / f"{number}.png")
        rows.append(
            Row(
                number,
                f"{number}.png",
                method="gradcam",
                layer="features",
                label=int(labels[number]),
                predicted=int(labels[number]),
                target=int(labels[number]),
                map=result.raw["features"][number],
                placement=(8.0, 8.0, 3.5, 3.5),
                probability=0.5,
            )
        )
    store = write_store(folder / "store", rows, class_names=list(names), root=str(folder / "pictures"))
    return store, set(np.flatnonzero(marked).tolist())
