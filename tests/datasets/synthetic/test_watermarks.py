"""Watermarks: as often as is said, at their place, in every channel, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camtool.datasets.builtin import Shapes
from camtool.datasets.synthetic.image_folder import write_folder
from camtool.datasets.synthetic.scenes import ShapeScenes
from camtool.datasets.synthetic.watermarks import STRENGTH, Watermark
from camtool.errors import DataError

SIZES = {1: 48, 2: 32, 3: 24}
NAMES = {1: "ramp", 2: "disc", 3: "cube"}


@pytest.mark.parametrize(("correlation", "of_class", "of_others"), [(0.0, 0.5, 0.5), (0.5, 0.75, 0.25), (1.0, 1.0, 0.0)])
def test_the_correlation_is_the_difference_of_the_shares(correlation: float, of_class: float, of_others: float) -> None:
    scenes = ShapeScenes(rank=1, size=48, watermark=Watermark("ramp", correlation))
    found = [scenes.scene(index) for index in range(1500)]
    marked = np.array([scene.watermark is not None for scene in found])
    is_class = np.array([scenes.classes[scene.label] == "ramp" for scene in found])
    spread = 0 if correlation == 1 else 0.1
    assert marked[is_class].mean() == pytest.approx(of_class, abs=spread)
    assert marked[~is_class].mean() == pytest.approx(of_others, abs=spread)


@pytest.mark.parametrize("rank", SIZES)
def test_stripes_lie_in_the_corner_and_nothing_else_changes(rank: int) -> None:
    size, name = SIZES[rank], NAMES[rank]
    plain, marked = (ShapeScenes(rank=rank, size=size, watermark=one) for one in (None, Watermark(name)))
    index = plain.classes.index(name)
    before, scene = plain.scene(index).sample(), marked.scene(index)
    after, without = scene.sample(), scene.without_watermark().sample()
    assert np.array_equal(without.picture, before.picture)
    assert not without.watermark_mask.any()
    for one, other in ((before.mask, after.mask), (before.distractor_mask, after.distractor_mask)):
        assert np.array_equal(one, other)
    expected = np.zeros((size,) * rank, dtype=bool)
    length = size // 6
    expected[(slice(size - 1 - length, size - 1), *[slice(1, 1 + length)] * (rank - 1))] = True
    assert np.array_equal(after.watermark_mask, expected)
    change = after.picture.astype(int) - before.picture.astype(int)
    assert not change[~expected].any()
    inside = change[expected]
    unclipped = (after.picture[expected] > 0) & (after.picture[expected] < 255)
    assert np.abs(np.abs(inside[unclipped]) - STRENGTH * 255).max() <= 1
    assert (inside > 0).any() and (inside < 0).any()  # noqa: PT018 - stripes of both signs
    other = (index + 1) % len(plain.classes)
    assert np.array_equal(marked.scene(other).sample().picture, plain.scene(other).sample().picture)


def test_a_data_set_and_a_folder_have_the_masks(tmp_path: Path) -> None:
    data = Shapes(split="val", count=6, size=32, watermark="disc")
    assert [bool(data.get_data_info(index)["watermark_mask"].any()) for index in range(6)] == [False, True, *[False] * 4]
    assert "watermark_mask" not in Shapes(count=6, size=32).get_data_info(1)
    write_folder(tmp_path / "marked", ShapeScenes(size=32, watermark=Watermark("disc")), {"val": 6})
    for name, kind in (("disc/0001", True), ("cross/0000", False)):
        assert bool(np.asarray(Image.open(tmp_path / f"marked/watermark_masks/val/{name}.png")).any()) == kind
    expected = data.get_data_info(1)["watermark_mask"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "marked/watermark_masks/val/disc/0001.png")) > 0, expected)
    write_folder(tmp_path / "plain", ShapeScenes(size=32), {"val": 6})
    assert not (tmp_path / "plain/watermark_masks").exists()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match=r"0 <= correlation <= 1, got 1\.5"):
        Watermark("disc", 1.5)
    with pytest.raises(DataError, match="No class 'disk'; closest: 'disc' that a watermark could go with"):
        Shapes(watermark="disk")
