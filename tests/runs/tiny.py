"""A tiny network, its config, and pictures for runs."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from camtool.apis import Explainer
from camtool.io.atomic import write_atomically

CLASSES = 3
SIZE = 24


class Tiny(nn.Module):
    """Scores (n, 3) of pictures (n, 3, h, w), with seeded weights."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6, classes)
        for parameter in self.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.body(pictures).mean(dim=(2, 3)))


CONFIG = f"""
model = dict(type="camtool.TorchModel", factory="{__file__}:Tiny", with_weights=True, preprocess=dict(mean=0.5, std=0.25),
             classes=["first", "second", "third"])
"""


def config(folder: Path) -> Path:
    """Write the network's config into a folder, and return its path; whole, for processes of the same folder read it meanwhile."""
    path = folder / "tiny.py"
    write_atomically(path, CONFIG.encode())
    return path


def pictures(folder: Path, count: int, seed: int = 0, size: int = SIZE) -> Path:
    """Write noise as pictures into sub-folders of three classes, and return the folder."""
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        path = folder / ("first", "second", "third")[number % 3] / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(values.numpy()).save(path)
    return folder


def explainer(folder: Path, **settings: object) -> Explainer:
    """Return an explainer of the tiny network; its config is written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return Explainer(config(folder), **{"method": ["gradcam", "layercam"], **settings})  # type: ignore[arg-type]
