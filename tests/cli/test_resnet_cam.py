"""The CAM network on the command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camtool.datasets.synthetic.scenes import ShapeScenes
from tests.cli.fixtures import ROOT, Run

CONFIG = str(ROOT / "configs/resnet_cam/resnet18_cam_shapes.py")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A scene with a disc."""
    Image.fromarray(ShapeScenes(split="val").scene(1).sample().picture).save(tmp_path / "disc.png")
    return tmp_path / "disc.png"


def test_the_last_block_is_the_derived_layer(run: Run, picture: Path) -> None:
    report = run("vis", picture, CONFIG, "--method", "cam", "--target-category", "disc", "--random-weights", "--json").report

    assert report["layers"] == ["backbone.layer4[1]"]
    assert report["targets"][0]["index"] == 1
    assert report["targets"][0]["name"] == "disc"
    assert run("layers", CONFIG, "--random-weights", "--json").report["default"] == "backbone.layer4[1]"


def test_a_picture_of_another_size_is_resized(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((100, 300, 3), 90, dtype=np.uint8)).save(tmp_path / "wide.png")

    assert run("vis", tmp_path / "wide.png", CONFIG, "--random-weights", "--json").report["predicted"]["name"] in ShapeScenes().classes
