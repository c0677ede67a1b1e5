"""MaxBoxAcc: worked by hand, and equal to cuts at every threshold whose parts are labelled one by one."""

import math

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from camtool.errors import DataError
from camtool.metrics import center_maps, max_box_accuracy, scaled
from camtool.metrics.box_accuracy import box_overlaps
from camtool.metrics.components import components

SHAPES = [(17,), (6, 9), (3, 4, 5)]


def literal_iou(low: np.ndarray, high: np.ndarray, box: np.ndarray) -> float:
    shared = first = second = 1.0
    for axis in range(len(low)):
        shared *= max(min(high[axis], box[axis][1]) - max(low[axis], box[axis][0]), 0)
        first *= high[axis] - low[axis]
        second *= box[axis][1] - box[axis][0]
    return shared / (first + second - shared)


def literal_overlaps(one: np.ndarray, boxes: np.ndarray, version: int, step: float) -> list[float]:
    """Cut at each threshold, label the parts, box each, and compare."""
    best = []
    for k in range(math.ceil(1 / step - 1e-9)):
        labelled, count = label(one >= k / (1 / step), np.ones((3,) * one.ndim))
        places = [np.argwhere(labelled == part) for part in range(1, count + 1)]
        if version == 1:
            places = [max(places, key=len)]  # the first of equal ones
        pairs = [(part.min(axis=0), part.max(axis=0) + 1, box) for part in places for box in (boxes[:1] if version == 1 else boxes)]
        best.append(max(literal_iou(*pair) for pair in pairs))
    return best


def random_map(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return noise: plain, in five levels, smooth, or 0 in most places."""
    generator = np.random.default_rng(seed)
    noise = generator.random(shape)
    kinds = (noise, np.round(noise * 4), gaussian_filter(noise, 1), np.where(generator.random(shape) < 0.6, 0, noise))
    return scaled(kinds[seed % 4][None])[0]


def random_boxes(shape: tuple[int, ...], seed: int, count: int = 2) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.array([[np.sort(generator.permutation(side + 1)[:2]) for side in shape] for _ in range(count)])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("version", [1, 2])
def test_overlaps_equal_cuts_at_every_threshold(shape: tuple[int, ...], version: int) -> None:
    for seed in range(24):
        one, boxes = random_map(shape, seed), random_boxes(shape, seed)
        for step in (0.05, 0.3, 1.0):
            np.testing.assert_allclose(
                box_overlaps(one[None], [boxes], version=version, step=step)[0],
                literal_overlaps(one, boxes, version, step),
                rtol=1e-12,
                err_msg=f"seed {seed}, step {step}",
            )


def test_a_thousand_thresholds_are_exact_too() -> None:
    one, boxes = random_map((6, 9), 0), random_boxes((6, 9), 0)
    np.testing.assert_allclose(box_overlaps(one[None], [boxes])[0], literal_overlaps(one, boxes, 2, 0.001), rtol=1e-12)


def test_parts_are_those_that_opencv_finds() -> None:
    levels = np.round(random_map((20, 30), 2) * 9).astype(int)
    parts = components(levels)
    for level in range(10):
        _, _, found, _ = cv2.connectedComponentsWithStats((levels >= level).astype(np.uint8), connectivity=8)
        expected = sorted((y, y + h, x, x + w, area) for x, y, w, h, area in found[1:].tolist())
        stands = (parts.lowest <= level) & (level <= parts.highest)
        assert sorted((*box.ravel().tolist(), count) for box, count in zip(parts.box[stands], parts.count[stands], strict=True)) == expected


def test_a_hand_works_out_the_largest_part_and_the_best_pair() -> None:
    # Two parts above 0: a column of three at the left, of up to 6, and two positions at the right, of 10 and 8.
    maps = np.array([[[6.0, 0.0, 0.0, 10.0], [6.0, 0.0, 0.0, 8.0], [4.0, 0.0, 0.0, 0.0]]])
    right, left = np.array([[0, 2], [3, 4]]), np.array([[0, 3], [0, 1]])
    # Largest: all of it up to 0, the left column to .4, of equally many the first to .6, the right ones to .8, the top one above.
    assert box_overlaps(maps, [np.array([right])], version=1, step=0.2)[0] == pytest.approx([2 / 12, 0, 0, 0, 1])
    assert box_overlaps(maps, [np.array([right, left])], version=1, step=0.2)[0] == pytest.approx([2 / 12, 0, 0, 0, 1])
    assert box_overlaps(maps, [np.array([left, right])], version=1, step=0.2)[0] == pytest.approx([3 / 12, 1, 1, 2 / 3, 0])
    assert box_overlaps(maps, [np.array([left, right])], version=2, step=0.2)[0] == pytest.approx([3 / 12, 1, 1, 1, 1])
    assert max_box_accuracy(maps, [np.array([right])], version=1, step=0.2).thresholds == (0.8,)


def test_one_threshold_is_meant_for_all_samples() -> None:
    # Found up to .3 only, and from .6 only: no threshold finds both.
    maps = np.array([[10.0, 3.0, 3.0, 3.0, 0.0], [10.0, 6.0, 5.0, 5.0, 0.0]])
    boxes = [np.array([[[0, 4]]]), np.array([[[0, 2]]])]
    found = max_box_accuracy(maps, boxes, version=1, step=0.1, ious=(0.9,))
    assert found.accuracy == 0.5
    assert found.curves.shape == (1, 10)
    alone = [max_box_accuracy(maps[k : k + 1], boxes[k : k + 1], version=1, step=0.1, ious=(0.9,)) for k in (0, 1)]
    assert [one.accuracy for one in alone] == [1, 1]
    np.testing.assert_array_equal((alone[0] + alone[1]).hits, found.hits)
    assert (alone[0] + alone[1]).samples == 2


def test_version_2_is_the_mean_over_three_ious_at_the_best_threshold_of_each() -> None:
    maps = np.array([[0.0, 5.0, 10.0, 5.0, 0.0]])
    found = max_box_accuracy(maps, [np.array([[[1, 3]]])], step=0.25)  # IoU 2/5 up to 0, 2/3 to .5, 1/2 above
    assert found.ious == (0.3, 0.5, 0.7)
    assert found.hits.astype(int).tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.thresholds == (0.0, 0.25, 0.0)


def test_the_centre_finds_a_centred_box_whatever_its_proportions() -> None:
    boxes = [np.array([[[8, 32], [6, 24]]]), np.array([[[0, 8], [0, 6]]])]
    assert max_box_accuracy(center_maps((2, 40, 30)), boxes, version=1).accuracy == 0.5


def test_a_single_position_and_a_large_plateau_have_parts() -> None:
    assert components(np.array([[3]])).box.tolist() == [[[0, 1], [0, 1]]]
    plateau = np.zeros((64, 64), int)
    plateau[10:20, 30:50] = 7
    parts = components(plateau)
    assert sorted(parts.count.tolist()) == [200, 4096]
    assert parts.box[parts.count == 200].tolist() == [[[10, 20], [30, 50]]]


@pytest.mark.parametrize(
    ("boxes", "options", "message"),
    [
        ([], {}, "boxes of each of 1 samples, got those of 0"),
        ([np.zeros((0, 1, 2))], {}, "of sample 0, at least one, got shape"),
        ([np.array([[1, 4]])], {}, r"Expected boxes \(k, 1, 2\) of sample 0"),
        ([np.array([[[4, 4]]])], {}, "got an empty one of sample 0"),
        ([np.array([[[0, np.nan]]])], {}, "got an empty one of sample 0"),
        ([np.array([[[1, 4]]])], {"version": 3}, "version 1 or 2, got 3"),
        ([np.array([[[1, 4]]])], {"step": 0}, "step between thresholds from 1e-05 to 1"),
        ([np.array([[[1, 4]]])], {"ious": (1.5,)}, "least IoUs above 0"),
    ],
)
def test_bad_input_is_one_line(boxes: list[np.ndarray], options: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        max_box_accuracy(np.arange(5.0)[None], boxes, **options)
    assert "\n" not in str(refused.value)


def test_a_flat_map_and_one_of_nan_are_refused() -> None:
    refused = ((np.ones((1, 5)), "differs between positions"), (np.full((1, 5), np.nan), "finite"), (-np.ones((1, 5)), "negative"))
    for maps, message in refused:
        with pytest.raises(DataError, match=message):
            max_box_accuracy(maps, [np.array([[[1, 4]]])])


def test_counts_of_two_protocols_are_not_added() -> None:
    maps, boxes = np.arange(5.0)[None], [np.array([[[1, 4]]])]
    with pytest.raises(DataError, match="one protocol"):
        max_box_accuracy(maps, boxes) + max_box_accuracy(maps, boxes, version=1)
