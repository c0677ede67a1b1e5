"""The centre-Gaussian baseline of Choe et al. 2020 (arXiv:2001.07437), where the metadata of that paper is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from camtool.metrics import center_maps
from camtool.metrics.box_accuracy import box_overlaps

VARIABLE = "CAMTOOL_WSOL_METADATA"
SIDE = 224
PUBLISHED = {"ILSVRC": 52.5, "CUB": 59.6}
"""MaxBoxAcc version 1 of the test sets, in percent."""


def first_boxes(folder: Path) -> np.ndarray:
    """Return the first box of each picture on an input of 224 x 224, (n, 2, 2); pictures are resized without a crop."""
    sizes = {}
    for line in (folder / "image_sizes.txt").read_text().splitlines():
        name, width, height = line.split(",")
        sizes[name] = np.array([float(height), float(width)])
    found: dict[str, np.ndarray] = {}
    for line in (folder / "localization.txt").read_text().splitlines():
        name, *corners = line.split(",")
        left, top, right, bottom = map(float, corners)
        found.setdefault(name, np.array([[top, bottom + 1], [left, right + 1]]) * SIDE / sizes[name][:, None])
    return np.stack(list(found.values()))


def center_accuracy(boxes: np.ndarray) -> float:
    """Return MaxBoxAcc version 1 of the same map for all samples, one after the other."""
    center = center_maps((1, SIDE, SIDE)).numpy()
    hits = sum((box_overlaps(center, box[None, None], version=1) >= 0.5).astype(int)[0] for box in boxes)
    return float(np.max(hits) / len(boxes))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_centre_baseline_is_as_published(name: str) -> None:
    folder = Path(os.environ.get(VARIABLE, "")) / name / "test"
    if not os.environ.get(VARIABLE) or not folder.is_dir():
        pytest.skip(f"No boxes of {name}; set {VARIABLE} to the folder 'metadata' of that paper's code, with {name}/test/localization.txt.")

    assert 100 * center_accuracy(first_boxes(folder)) == pytest.approx(PUBLISHED[name], abs=0.5)


def test_the_metadata_is_read_as_boxes_on_the_input(tmp_path: Path) -> None:
    (tmp_path / "image_sizes.txt").write_text("a.JPEG,448,112\nb.JPEG,224,224\n")
    (tmp_path / "localization.txt").write_text("a.JPEG,112,28,335,83\na.JPEG,0,0,1,1\nb.JPEG,0,0,9,9\n")

    boxes = first_boxes(tmp_path)

    assert boxes.tolist() == [[[56, 168], [56, 168]], [[0, 10], [0, 10]]]
    assert center_accuracy(boxes) == 0.5, "the first lies in the centre, the second in a corner"
