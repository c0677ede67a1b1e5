"""`camtool vis --mask`: regions of segmentations, of pictures and of volumes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from camtool.io.volumes import Geometry, Volume, encode_volume, read_volume
from tests.cli.fixtures import Run
from tests.volumes import random_geometry

NETWORK = """
import torch
from torch import nn


def build(axes):
    # Two classes at each position: the brightness, and its negative.
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
    smooth, head = convolution(1, 1, 3, padding=1), convolution(1, 2, 1)
    with torch.no_grad():
        smooth.weight.fill_(1 / 3**axes)
        smooth.bias.zero_()
        head.weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, *[1] * axes))
        head.bias.zero_()
    return nn.Sequential(smooth, head)
"""
SHAPE, BALLS = (24, 20, 18), ((6, 6, 6), (17, 13, 11))


def balls(which: tuple[int, ...]) -> np.ndarray:
    places = np.stack(np.indices(SHAPE), axis=-1)
    return np.max([np.linalg.norm(places - BALLS[ball], axis=-1) < 3 for ball in which], axis=0).astype(np.float32)


def write(path: Path, values: np.ndarray, geometry: Geometry) -> Path:
    path.write_bytes(encode_volume(values, Volume(values, geometry, path.name), ".nii.gz"))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Any:
    (tmp_path / "net.py").write_text(NETWORK)

    def write_config(rank: int, **preprocess: Any) -> Path:
        model = {"type": "camtool.TorchModel", "factory": "net.py:build", "kwargs": {"axes": rank}, "with_weights": True}
        (tmp_path / "c.py").write_text(f"model = {dict(model, preprocess=preprocess)!r}\n")
        return tmp_path / "c.py"

    return write_config


@pytest.mark.parametrize("preprocess", [{}, {"orientation": "RAS", "axes": "zyx", "spacing": 1.0}, {"size": (30, 30, 30)}])
@pytest.mark.parametrize("window", [(), ("--window", 16)])
def test_the_map_of_a_region_lies_in_it(config: Any, run: Run, tmp_path: Path, preprocess: dict[str, Any], window: tuple[Any, ...]) -> None:
    geometry = random_geometry(np.random.default_rng(3), oblique=0.1)
    scan, mask = write(tmp_path / "scan.nii.gz", balls((0, 1)), geometry), write(tmp_path / "mask.nii.gz", balls((1,)), geometry)

    finished = run(
        *("vis", scan, config(3, **preprocess), "--target", "region", "--mask", mask, "--target-category", 1, *window),
        *("--method", "hirescam", "--target-layers", "[0]", "-o", "map.nii.gz"),
    )

    assert finished.exit_code == 0, finished.stderr
    values = np.nan_to_num(read_volume(tmp_path / "map.nii.gz").values)
    assert np.abs(np.argwhere(values > 0.5).mean(axis=0) - BALLS[1]).max() < 0.7
    assert values[tuple(BALLS[0])] == 0


def test_a_mask_of_other_voxels(config: Any, run: Run, tmp_path: Path) -> None:
    scan = write(tmp_path / "scan.nii.gz", balls((0, 1)), Geometry.of_spacing((1, 1, 1)))
    mask = write(tmp_path / "mask.nii.gz", balls((1,))[::2, ::2, ::2], Geometry(np.diag([2.0, 2, 2, 1])))
    command = ("vis", scan, config(3), "--mask", mask, "--target-category", 1, "--method", "hirescam", "-o", "map.nii.gz")

    refused = run(*command)
    resampled = run(*command, "--resample-mask")

    assert (refused.exit_code, resampled.exit_code) == (2, 0), resampled.stderr
    assert "expected the same voxels. Resample it (--resample-mask)" in refused.stderr
    values = read_volume(tmp_path / "map.nii.gz").values
    assert np.abs(np.argwhere(values > 0.5).mean(axis=0) - BALLS[1]).max() < 1.5


def test_a_region_of_a_picture(config: Any, run: Run, tmp_path: Path) -> None:
    values = (255 * balls((0, 1)).max(axis=2)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    Image.fromarray((255 * balls((1,)).max(axis=2)).astype(np.uint8)).save(tmp_path / "mask.png")
    recipe = config(2, color="gray")

    finished = run(
        "vis", "picture.png", recipe, "--mask", "mask.png", "--target-category", 1, "--method", "hirescam", "--save-raw", "a.npz"
    )

    assert finished.exit_code == 0, finished.stderr
    found = np.load(tmp_path / "a.npz")["map/hirescam"][0]
    assert np.abs(np.argwhere(found > 0.5).mean(axis=0) - BALLS[1][:2]).max() < 0.7


@pytest.mark.parametrize("window", [(), ("--window", 16)])
def test_a_class_where_the_network_sees_it(config: Any, run: Run, tmp_path: Path, window: tuple[Any, ...]) -> None:
    """Without a mask the region is the network's own: as a file of it, class by class."""
    geometry = Geometry.of_spacing((1, 1, 1))
    scan = write(tmp_path / "scan.nii.gz", balls((0, 1)), geometry)
    bright = torch.nn.functional.avg_pool3d(torch.from_numpy(balls((0, 1)))[None, None], 3, 1, 1)[0, 0].numpy() > 0
    masks = [write(tmp_path / f"{index}.nii.gz", seen.astype(np.float32), geometry) for index, seen in enumerate((~bright, bright))]
    command = ("vis", scan, config(3), "--target", "region", *window, "--method", "hirescam", "--target-layers", "[0]")

    finished = run(*command, "--target-category", 0, 1, "--save-raw", "seen.npz", "--json")

    assert finished.report["target"]["explains"] == ["class 0 in its region, 92.8%", "class 1 in its region, 7.2%"]
    seen = np.load(tmp_path / "seen.npz")["raw/hirescam/[0]"]
    assert len(seen) == 2
    for index, mask in enumerate(masks):
        assert run(*command, "--mask", mask, "--target-category", index, "--save-raw", f"{index}.npz").exit_code == 0
        np.testing.assert_allclose(seen[index], np.load(tmp_path / f"{index}.npz")["raw/hirescam/[0]"][0], atol=1e-6)


@pytest.mark.parametrize("window", [(), ("--window", 16)])
def test_the_class_of_a_mask_by_its_name(config: Any, run: Run, tmp_path: Path, window: tuple[Any, ...]) -> None:
    geometry = Geometry.of_spacing((1, 1, 1))
    scan, mask = write(tmp_path / "scan.nii.gz", balls((0, 1)), geometry), write(tmp_path / "mask.nii.gz", balls((1,)), geometry)
    recipe = config(3)
    recipe.write_text(recipe.read_text() + "model['classes'] = ['dark', 'bright']\n")
    command = ("vis", scan, recipe, "--mask", mask, *window, "--method", "hirescam", "--target-layers", "[0]")

    for category in (1, "bright", "dark"):
        finished = run(*command, "--target-category", category, "--save-raw", f"{category}.npz")
        assert finished.exit_code == 0, finished.stderr

    raw = {category: np.load(tmp_path / f"{category}.npz")["raw/hirescam/[0]"] for category in (1, "bright", "dark")}
    assert np.array_equal(raw["bright"], raw[1])
    np.testing.assert_allclose(raw["dark"], -raw[1], atol=1e-6)


def test_reports_say_the_mask_and_the_class(config: Any, run: Run, tmp_path: Path) -> None:
    geometry, share = Geometry.of_spacing((1, 1, 1)), f"{balls((1,)).mean():.1%}"
    scan, mask = write(tmp_path / "scan.nii.gz", balls((0, 1)), geometry), write(tmp_path / "ball.nii.gz", balls((1,)), geometry)
    recipe = config(3)
    command = ("vis", scan, recipe, "--mask", mask, "--method", "hirescam", "--target-layers", "[0]", "--json")

    assert run(*command, "--target-category", 1).report["targets"][0]["name"] == f"class 1 in ball.nii.gz, {share}"
    recipe.write_text(recipe.read_text() + "model['classes'] = ['dark', 'bright']\n")
    for category in (1, "bright"):
        report = run(*command, "--target-category", category).report
        assert report["target"]["explains"] == [f"bright (1) in ball.nii.gz, {share}"]
        assert report["target"]["mask"] == str(mask)
        assert report["targets"][0]["index"] == 1


def test_reports_say_the_picture_that_is_the_mask(config: Any, run: Run, tmp_path: Path) -> None:
    for name, which in (("picture", (0, 1)), ("ball", (1,))):
        Image.fromarray((255 * balls(which).max(axis=2)).astype(np.uint8)).save(tmp_path / f"{name}.png")
    command = ("vis", "picture.png", config(2, color="gray"), "--mask", "ball.png", "--target-category", 0, "--method", "hirescam")

    report = run(*command, "--json").report

    assert report["target"]["explains"] == [f"class 0 in ball.png, {balls((1,)).max(axis=2).mean():.1%}"]
    assert report["target"]["mask"] == "ball.png"


WRONG: dict[str, tuple[list[Any], str]] = {
    "no region": ([], "expected one score per class; scores of positions are explained by --target region --target-category CLASS"),
    "no class": (["--mask", "mask.nii.gz"], "name it, as --target-category 1"),
    "a class by name": (["--mask", "mask.nii.gz", "--target-category", "tumour"], "tumour"),
    "two classes": (["--mask", "mask.nii.gz", "--target-category", 0, 1], "name it, as --target-category 1"),
    "another target": (["--mask", "mask.nii.gz", "--target", "logit"], "--mask belongs to --target region, got --target logit"),
    "no mask to resample": (["--resample-mask"], "--resample-mask belongs to --mask FILE"),
    "no such mask": (["--mask", "none.nii.gz", "--target-category", 1], "No volume 'none.nii.gz'"),
    "a picture as the mask": (["--mask", "mask.png", "--target-category", 1], "A region of shape (20, 24) needs"),
    "a region of no class": (["--target", "region"], "expected categories (--target-category)"),
    "a region of no such class": (
        ["--target", "region", "--target-category", 7],
        "Class index 7 is out of range: the network has 2 classes, 0 to 1",
    ),
    "an empty mask": (["--mask", "empty.nii.gz", "--target-category", 1], "The region is empty"),
    "no such class": (["--mask", "mask.nii.gz", "--target-category", 7], "Class index 7 is out of range"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_masks(config: Any, run: Run, tmp_path: Path, case: str) -> None:
    options, message = WRONG[case]
    geometry = Geometry.of_spacing((1, 1, 1))
    scan = write(tmp_path / "scan.nii.gz", balls((0, 1)), geometry)
    write(tmp_path / "mask.nii.gz", balls((1,)), geometry)
    write(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.float32), geometry)
    Image.fromarray(np.full((20, 24), 255, np.uint8)).save(tmp_path / "mask.png")
    recipe = config(3)
    before = sorted(tmp_path.iterdir())

    finished = run("vis", scan, recipe, *options)

    assert finished.exit_code == 2, finished.stdout
    assert message in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
