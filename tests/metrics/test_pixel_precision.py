"""PxAP: worked by hand, against a literal replica with a cut at every threshold, and what is refused."""

import numpy as np
import pytest

from camtool.errors import DataError
from camtool.metrics import pxap, scaled
from tests.metrics.samples import SIZES, fading, objects


def literal_area(maps: np.ndarray, masks: np.ndarray, ignored: np.ndarray, step: float) -> float:
    thresholds = [k / (1 / step) for k in range(round(1 / step))] + [1.0]
    area, recall_before = 0.0, 0.0
    for threshold in reversed(thresholds):
        reached = (scaled(maps) >= threshold) & ~ignored
        if not reached.any():
            continue
        right = (reached & masks).sum()
        recall = right / (masks & ~ignored).sum()
        area += right / reached.sum() * (recall - recall_before)
        recall_before = recall
    return area


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [0.001, 0.1])
def test_the_area_equals_a_literal_replica(size: tuple[int, ...], step: float) -> None:
    masks, _ = objects(size, 5)
    maps, ignored = fading(masks, 0.7), np.random.default_rng(2).random(masks.shape) < 0.1
    none = np.zeros_like(masks)
    assert pxap(maps, masks, step=step).area == pytest.approx(literal_area(maps, masks, none, step), rel=1e-12)
    assert pxap(maps, masks, ignored=ignored, step=step).area == pytest.approx(literal_area(maps, masks, ignored, step), rel=1e-12)


def test_a_hand_works_out_the_area() -> None:
    # From the top: right, wrong, right, wrong. Recall 1/2 at precision 1, 1 at precision 2/3.
    found = pxap(np.array([[0.0, 1.0, 3.0, 4.0]]), np.array([[0, 1, 0, 1]]))
    precision, recall = found.curve
    assert precision == pytest.approx([1] * 1 + [*precision[1:]])
    assert sorted(set(recall.tolist())) == [0.5, 1.0]
    assert found.area == pytest.approx(1 / 2 + (1 / 2) * (2 / 3))
    assert pxap(np.array([[0.0, 1.0, 3.0, 4.0]]), np.array([[0, 1, 0, 1]]), ignored=np.array([[0, 0, 1, 0]])).area == pytest.approx(1)


def test_the_maximum_is_above_the_last_step() -> None:
    assert pxap(np.array([[0.0, 0.9995, 1.0]]), np.array([[0, 0, 1]])).area == 1


def test_samples_are_counted_together_and_parts_are_added() -> None:
    masks, _ = objects((8, 9), 6)
    maps = fading(masks, 0.8)
    parts = [pxap(maps[k : k + 2], masks[k : k + 2]) for k in (0, 2, 4)]
    assert (parts[0] + parts[1] + parts[2]).area == pytest.approx(pxap(maps, masks).area, rel=1e-12)
    assert np.mean([part.area for part in parts]) != pytest.approx(pxap(maps, masks).area, rel=1e-3)


def test_bad_input_is_one_line() -> None:
    maps, masks = np.arange(4.0)[None], np.array([[0, 0, 1, 1]])
    with pytest.raises(DataError, match="an empty one of sample 0"):
        pxap(maps, 0 * masks)
    with pytest.raises(DataError, match="not ignored, got none"):
        pxap(maps, masks, ignored=masks)
    with pytest.raises(DataError, match="ignored positions of the maps' shape"):
        pxap(maps, masks, ignored=masks[:, :2])
    with pytest.raises(DataError, match="differs between positions"):
        pxap(np.ones((1, 4)), masks)
    with pytest.raises(DataError, match="one protocol"):
        pxap(maps, masks) + pxap(maps, masks, step=0.1)
