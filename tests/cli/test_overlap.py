"""`camtool analyze overlap`: maps of a store against masks, of volumes and of pictures."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camtool import Explainer
from camtool.io.volumes import Geometry, Volume, encode_volume
from camtool.metrics import iou, wioa
from tests.cli.fixtures import Run

NETWORK = """
import torch
from torch import nn


def build(axes):
    # The score is the mean brightness.
    convolution, pool = getattr(nn, f"Conv{axes}d"), getattr(nn, f"AdaptiveAvgPool{axes}d")
    layer = convolution(1, 1, 3, stride=2, padding=1)
    with torch.no_grad():
        layer.weight.fill_(1 / 3**axes)
        layer.bias.zero_()
    return nn.Sequential(layer, nn.ReLU(), pool(1), nn.Flatten())
"""
SHAPE, BALL, ELSEWHERE = (24, 20, 16), (16, 7, 9), (5, 14, 4)


def ball(centre: tuple[int, ...], radius: float = 3.5) -> np.ndarray:
    places = np.stack(np.indices(SHAPE[: len(centre)]), axis=-1)
    return (np.linalg.norm(places - centre, axis=-1) < radius).astype(np.float32)


def config(folder: Path, axes: int, preprocess: dict[str, Any]) -> Path:
    (folder / "net.py").write_text(NETWORK)
    model = {"type": "camtool.TorchModel", "factory": "net.py:build", "kwargs": {"axes": axes}, "with_weights": True}
    (folder / "c.py").write_text(f"model = {dict(model, preprocess=preprocess)!r}\n")
    return folder / "c.py"


def write_volume(path: Path, values: np.ndarray, geometry: Geometry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_volume(values, Volume(values, geometry, path.name), ".nii.gz"))


def write_picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * values).astype(np.uint8)).save(path)


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def volumes(tmp_path: Path, run: Run) -> Path:
    """A run over three scans, whose masks are the ball, another place, and missing."""
    geometry = Geometry(np.array([[-1.0, 0, 0, 5], [0, 0, 2, 1], [0, 1, 0, 3], [0, 0, 0, 1]]))
    recipe = config(tmp_path, 3, {"orientation": "RAS", "axes": "zyx"})
    for name, mask in (("a/seen", ball(BALL)), ("a/missed", 2 * ball(ELSEWHERE)), ("b/alone", None)):
        write_volume(tmp_path / f"data/{name}.nii.gz", ball(BALL), geometry)
        if mask is not None:
            write_volume(tmp_path / f"masks/{name}.nii.gz", mask, geometry)
    assert run("run", recipe, "--data", "data", "--out", "store", "--target-category", "label").exit_code in (0, 2)
    assert run("run", recipe, "--data", "data", "--out", "store2", "--target-category", 0).exit_code == 0
    return tmp_path / "store2"


def test_the_overlap_of_volumes_with_masks(run: Run, volumes: Path) -> None:
    finished = run("analyze", "overlap", volumes, "--masks", "masks", "--config", "c.py", "--json")

    (entry,) = finished.report["overlap"]
    (path,) = finished.report["outputs"]
    missed, seen, alone = rows_of(path)
    assert (entry["maps"], entry["left_out"]) == (2, 1)
    assert (missed["path"], float(missed["wioa"]), float(missed["iou"])) == ("a/missed.nii.gz", 0, 0)
    explanation = Explainer("c.py")("data/a/seen.nii.gz", categories=[0])
    on_scan = np.nan_to_num(explanation.canvas().placed(explanation.results["gradcam"].maps[0, 0].numpy()))[None]
    assert float(seen["wioa"]) == pytest.approx(float(wioa(on_scan, ball(BALL)[None] > 0)[0]), abs=1e-5)
    assert float(seen["iou"]) == pytest.approx(float(iou(on_scan, ball(BALL)[None] > 0)[0]), abs=1e-5)
    assert float(seen["wioa"]) > 0.7
    assert entry["wioa"] == pytest.approx(float(seen["wioa"]) / 2)
    assert alone["wioa"] == ""
    assert alone["reason"].startswith("No mask of 'b/alone.nii.gz'")
    assert "1 of 3 maps of gradcam at" in finished.stderr


def test_the_value_of_the_mask_and_the_score_are_chosen(run: Run, volumes: Path) -> None:
    report = run(
        *("analyze", "overlap", volumes, "--masks", "masks", "--config", "c.py", "--label", 1, "--score", "ioa", "--json"),
        *("--threshold", 0.5, "--out", "own"),
    ).report

    missed, seen, _ = rows_of(report["outputs"][0])
    assert "empty" in missed["reason"]
    assert float(seen["ioa"]) > 0.8
    assert "iou" not in seen


def test_the_overlap_of_pictures_is_that_on_the_whole_picture(run: Run, tmp_path: Path) -> None:
    picture, mask = ball(BALL[:2]), ball((15, 8))
    recipe = config(tmp_path, 2, {"color": "gray", "crop": 16})
    write_picture(tmp_path / "data/x/1.png", picture)
    write_picture(tmp_path / "masks/x/1.png", mask)
    assert run("run", recipe, "--data", "data", "--out", "store", "--target-category", 0).exit_code == 0

    report = run("analyze", "overlap", "store", "--masks", "masks", "--config", recipe, "--threshold", "0.4", "--json").report

    explanation = Explainer(recipe)("data/x/1.png", categories=[0])
    whole = np.nan_to_num(explanation.canvas(original=True).placed(explanation.results["gradcam"].maps[0, 0].numpy()))
    (row,) = rows_of(report["outputs"][0])
    assert float(row["wioa"]) == pytest.approx(float(wioa(whole[None], mask[None] > 0, 0.4)[0]), abs=1e-5)
    assert float(row["iou"]) == pytest.approx(float(iou(whole[None], mask[None] > 0, 0.4)[0]), abs=1e-5)
    assert 0 < float(row["iou"]) < 1


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_the_overlap_of_signals_is_over_time(run: Run, tmp_path: Path, suffix: str) -> None:
    recipe = config(tmp_path, 1, {"rate": 20.0})
    with recipe.open("a") as file:
        file.write("input = dict(kind='signal', rate=40.0, start=1.0)\n")
    signal, mask = np.zeros(160, dtype=np.float32), np.zeros(160, dtype=np.float32)
    signal[90:110] = 1
    mask[90:130] = 1
    (tmp_path / "data").mkdir()
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "data/1.npy", signal)
    if suffix == ".npy":
        np.save(tmp_path / "masks/1.npy", mask)
    else:
        np.savetxt(tmp_path / "masks/1.csv", mask)
    assert run("run", recipe, "--data", "data", "--out", "store", "--target-category", 0).exit_code == 0

    report = run("analyze", "overlap", "store", "--masks", "masks", "--config", recipe, "--threshold", "0.4", "--json").report

    (row,) = rows_of(report["outputs"][0])
    assert float(row["ioa"]) == pytest.approx(1, abs=0.12)  # the map of the pulse is up to a stride wider than it
    assert float(row["iou"]) == pytest.approx(0.5, abs=0.08)
    np.save(tmp_path / "masks/1.npy", mask[:-5])
    assert (
        "Mask 'masks/1.npy' has 115 values, its signal 120"
        in run(*("analyze", "overlap", "store", "--masks", "masks", "--config", recipe)).stderr
    )


WRONG: dict[str, tuple[list[Any], str]] = {
    "no such folder": (["--masks", "none"], "No folder 'none'; expected one of masks"),
    "no masks": (["--masks", "data/b"], "No mask of 'a/missed.nii.gz'"),
    "no such score": (["--masks", "masks", "--score", "iuo"], "No score 'iuo'; closest: 'iou'"),
    "no such threshold": (["--masks", "masks", "--threshold", "1.5"], "Expected --threshold as otsu, or a number from 0 to 1"),
    "a label of none": (["--masks", "masks", "--label", 9], "could be compared"),
    "no config": (["--masks", "masks", "--config", "none.py"], "none.py"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_overlaps(run: Run, volumes: Path, tmp_path: Path, case: str) -> None:
    options, message = WRONG[case]
    given = options if "--config" in options else [*options, "--config", "c.py"]
    before = sorted(tmp_path.rglob("*"))

    finished = run("analyze", "overlap", volumes, *given)

    assert finished.exit_code == 2
    assert message in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_masks_elsewhere_are_resampled_where_that_is_asked(run: Run, volumes: Path, tmp_path: Path) -> None:
    write_volume(
        tmp_path / "coarse/a/seen.nii.gz",
        ball(BALL)[::2, ::2, ::2],
        Geometry(np.array([[-2.0, 0, 0, 5], [0, 0, 4, 1], [0, 2, 0, 3], [0, 0, 0, 1]])),
    )
    command = ("analyze", "overlap", volumes, "--masks", "coarse", "--config", "c.py", "--json")

    assert run(*command).exit_code == 2
    report = run(*command, "--resample-mask").report

    assert report["overlap"][0]["wioa"] > 0.5, "the mask of coarse voxels is rough"
