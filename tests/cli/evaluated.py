"""A store that is evaluated: twelve pictures of discs, with masks, by a network that looks at them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camtool.store import open as open_store
from tests.cli.fixtures import Run

SIZE = 32
NETWORK = """
import torch
from torch import nn


class Bright(nn.Module):
    # Two classes: how bright the picture is in red, and in green.
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3, stride=2, padding=1, bias=False)
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.weight[0, 0].fill_(1 / 9)
            self.layer.weight[1, 1].fill_(1 / 9)

    def forward(self, image):
        return 8 * self.layer(image).relu().mean((2, 3))


def build():
    return Bright()
"""


def disc(centre: tuple[int, int], radius: float = 6) -> np.ndarray:
    rows, columns = np.indices((SIZE, SIZE))
    return (np.hypot(rows - centre[0], columns - centre[1]) < radius).astype(np.uint8)


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def store(tmp_path: Path, run: Run) -> Path:
    """A run over twelve pictures, each with a disc of its class's colour; one has no mask."""
    generator = np.random.default_rng(0)
    (tmp_path / "net.py").write_text(NETWORK)
    model = {"type": "camtool.TorchModel", "factory": "net.py:build", "with_weights": True, "preprocess": {"resize": SIZE}}
    (tmp_path / "c.py").write_text(f"model = {model!r}\ncam = dict(target_layers='layer')\n")
    for number in range(12):
        centre = tuple(int(value) for value in generator.integers(8, SIZE - 8, size=2))
        object_, kind = disc(centre), number % 2  # type: ignore[arg-type]
        picture = generator.integers(0, 40, size=(SIZE, SIZE, 3), dtype=np.uint8)
        picture[..., kind] += 200 * object_
        write(tmp_path / f"data/{'rg'[kind]}/{number}.png", picture)
        if number != 11:
            write(tmp_path / f"masks/{'rg'[kind]}/{number}.png", 255 * object_)
    methods = ("--method", "gradcam", "layercam")
    assert run("run", "c.py", "--data", "data", "--out", "store", "--target-category", "predicted", *methods).exit_code == 0
    return tmp_path / "store"


WITH_MASKS = ("--masks", "masks", "--config", "c.py")


def coco(path: Path, boxes: dict[str, list[tuple[str, list[float]]]]) -> None:
    """Write boxes (x, y, width, height) of objects by file and category."""
    names = sorted({name for objects in boxes.values() for name, _ in objects})
    pictures = [{"id": number, "file_name": file, "width": SIZE, "height": SIZE} for number, file in enumerate(boxes)]
    objects = [
        {"id": 10 * number + place, "image_id": number, "category_id": names.index(name) + 1, "bbox": box, "area": 1, "iscrowd": 0}
        for number, found in enumerate(boxes.values())
        for place, (name, box) in enumerate(found)
    ]
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(names)]
    path.write_text(json.dumps({"images": pictures, "annotations": objects, "categories": categories}))


def store_class_names(store: Path) -> list[str]:
    names = open_store(store).run.get("class_names")
    return list(names) if names else ["0", "1"]
