"""Overlap of maps with masks: worked by hand, against a slow literal replica, and what is refused."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from camtool.errors import NOT_FINITE, DataError
from camtool.metrics import OVERLAPS, attended, ioa, iou, otsu_threshold, scaled, wioa

MAP = np.array([[[0.0, 1.0], [3.0, 4.0]]])
MASK = np.array([[[False, True], [False, True]]])
SIZES = [(12,), (5, 7), (3, 4, 5)]


def literal_otsu(values: np.ndarray) -> float:
    """Try every split of 256 bins between the lowest and the highest value; the border of the first of the best."""
    low, high = min(values), max(values)
    counts, centres = [0] * 256, [low + (high - low) * (k + 0.5) / 256 for k in range(256)]
    for value in values:
        counts[min(int((value - low) / (high - low) * 256), 255)] += 1
    best, found = -1.0, 0.0
    for split in range(255):
        below, above = list(range(split + 1)), list(range(split + 1, 256))
        n_below, n_above = sum(counts[k] for k in below), sum(counts[k] for k in above)
        mean_below = sum(counts[k] * centres[k] for k in below) / n_below
        mean_above = sum(counts[k] * centres[k] for k in above) / n_above
        variance = n_below * n_above * (mean_below - mean_above) ** 2
        if variance > best * (1 + 1e-9):
            best, found = variance, low + (high - low) * (split + 1) / 256
    return found


def literal_scores(one: np.ndarray, mask: np.ndarray, threshold: str | float) -> dict[str, float]:
    values = [(value - one.min()) / (one.max() - one.min()) for value in one.flat]
    limit = literal_otsu(np.array(values)) if isinstance(threshold, str) else threshold
    weight = weight_inside = count = count_inside = union = 0.0
    for value, inside in zip(values, mask.flat, strict=True):
        if value >= limit:
            weight, count = weight + value, count + 1
            if inside:
                weight_inside, count_inside = weight_inside + value, count_inside + 1
        if value >= limit or inside:
            union += 1
    return {"wioa": weight_inside / weight, "ioa": count_inside / count, "iou": count_inside / union}


def test_overlap_is_what_the_hand_works_out() -> None:
    # Scaled: 0, 1/4, 3/4, 1. Otsu parts {0, 1/4} from {3/4, 1}: attention 3/4 + 1, in the mask 1.
    assert wioa(MAP, MASK) == pytest.approx([4 / 7])
    assert ioa(MAP, MASK) == pytest.approx([1 / 2])
    assert iou(MAP, MASK) == pytest.approx([1 / 3])
    # From 1/4: attention 1/4 + 3/4 + 1, in the mask 1/4 + 1; two of three positions; all of the mask.
    assert wioa(MAP, MASK, 0.25) == pytest.approx([5 / 8])
    assert ioa(MAP, MASK, 0.25) == pytest.approx([2 / 3])
    assert iou(MAP, MASK, 0.25) == pytest.approx([2 / 3])
    assert wioa(MAP, MASK, 0) == pytest.approx([5 / 8])
    assert ioa(MAP, MASK, 0) == pytest.approx([1 / 2])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threshold", ["otsu", 0.0, 0.3, 1.0])
def test_overlap_equals_a_literal_replica(size: tuple[int, ...], threshold: str | float) -> None:
    generator = np.random.default_rng(0)
    maps, masks = generator.gamma(0.7, size=(4, *size)), generator.random((4, *size)) < 0.4
    for name, score in OVERLAPS.items():
        expected = [literal_scores(one, mask, threshold)[name] for one, mask in zip(maps, masks, strict=True)]
        np.testing.assert_allclose(score(maps, masks, threshold), expected, rtol=1e-12)


@pytest.mark.parametrize("score", OVERLAPS.values(), ids=OVERLAPS)
def test_a_sample_has_its_own_threshold_and_its_scale_does_not_matter(score: Callable[..., np.ndarray]) -> None:
    generator = np.random.default_rng(1)
    maps, masks = generator.random((3, 6, 6)), generator.random((3, 6, 6)) < 0.5
    together = score(maps, masks)
    alone = [score(maps[k : k + 1], masks[k : k + 1])[0] for k in range(3)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(score(maps * np.array([1e-30, 7.0, 1e30]).reshape(3, 1, 1) + 0.0, masks), together)
    assert ((together >= 0) & (together <= 1)).all()


def test_tensors_and_arrays_of_any_dtype_give_the_same() -> None:
    maps, masks = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0)), torch.eye(4).expand(2, 4, 4)
    expected = wioa(maps.numpy(), masks.numpy().astype(bool))
    np.testing.assert_array_equal(wioa(maps.requires_grad_(), masks), expected)
    np.testing.assert_array_equal(wioa(maps, masks.to(torch.uint8)), expected)
    np.testing.assert_allclose(wioa(maps.bfloat16(), masks), expected, atol=0.1)


def test_the_whole_mask_and_all_attention_inside_are_one() -> None:
    everywhere = np.ones_like(MASK)
    assert wioa(MAP, everywhere) == ioa(MAP, everywhere) == 1
    attention = attended(MAP)
    assert wioa(MAP, attention) == ioa(MAP, attention) == iou(MAP, attention) == 1
    assert wioa(MAP, ~attention) == ioa(MAP, ~attention) == iou(MAP, ~attention) == 0


@pytest.mark.parametrize("seed", range(5))
def test_otsus_threshold_equals_a_literal_replica_and_opencvs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.normal(60, 15, 300), generator.normal(170, 25, 200)]).clip(0, 255).round()
    values[:2] = 0, 255
    assert otsu_threshold(values / 255) == pytest.approx(literal_otsu(values / 255), abs=1e-12)
    grey, _ = cv2.threshold(values.astype(np.uint8)[None], 0, 255, cv2.THRESH_OTSU)  # the last grey level of the lower class
    np.testing.assert_array_equal(values >= otsu_threshold(values), values > grey)


def test_otsus_threshold_is_half_a_bin_above_scikit_images() -> None:
    # What skimage.filters.threshold_otsu 0.26 returns, the centre of a bin.
    squares, waves = np.linspace(0, 1, 101) ** 2, np.sin(np.arange(200)) + 1
    assert otsu_threshold(squares) == pytest.approx(0.408203125 + 1 / 512, abs=1e-12)
    assert otsu_threshold(waves) == pytest.approx(0.9882426506064579 + np.ptp(waves) / 512, abs=1e-12)


def test_no_value_of_otsus_lower_class_is_attended_to() -> None:
    # 1 lies above the centre of its bin of 0 to 10, the last of the lower class.
    assert attended(np.array([[0.0, 1.0, 8.0, 10.0]])).tolist() == [[False, False, True, True]]


def test_maps_are_scaled_one_by_one_however_large_their_range() -> None:
    maps = np.array([[0.0, 1.0, 2.0], [5.0, 5.0, 6.0], [0.0, 8.5e307, 1.7e308]])
    np.testing.assert_allclose(scaled(maps), [[0, 0.5, 1], [0, 0, 1], [0, 0.5, 1]])


@pytest.mark.parametrize(
    ("maps", "masks", "threshold", "message"),
    [
        (MAP, MASK[:, :1], "otsu", "Expected masks .* of the maps' shape, 1x2x2, got 1x1x2; resize"),
        (MAP, np.zeros_like(MASK), "otsu", "at least one position, got an empty one of sample 0"),
        (MAP, 3 * MASK, "otsu", "Expected a mask of 0 and 1, got 3 in that of sample 0"),
        (MAP, np.where(MASK, np.nan, 0), "otsu", "Expected a mask of 0 and 1, got nan"),
        (np.where(MAP == 1, np.nan, MAP), MASK, "otsu", "Expected finite maps, got NaN or infinity in that of sample 0"),
        (np.where(MAP == 1, np.inf, MAP), MASK, 0.5, "Expected finite maps"),
        (np.full_like(MAP, 2), MASK, "otsu", "differs between positions, got 2 everywhere in that of sample 0"),
        (np.zeros_like(MAP), MASK, 0.5, "differs between positions, got 0 everywhere"),
        (MAP - 1, MASK, "otsu", "without negative values, got -1 in that of sample 0; try its positive part"),
        (MAP, MASK, "otzu", "No threshold 'otzu'; closest: 'otsu'"),
        (MAP, MASK, 1.5, "from 0 to 1, the range of a scaled map, got 1.5"),
        (MAP, MASK, float("nan"), "from 0 to 1"),
        (np.ones(3), MASK, 0.5, r"Expected maps \(n, \*spatial\)"),
        (np.ones((0, 3)), MASK, 0.5, r"Expected maps \(n, \*spatial\)"),
        (MAP * 1j, MASK, 0.5, "of real numbers, got complex128"),
        (MAP.astype(str), MASK, 0.5, "of real numbers, got <U"),
    ],
)
@pytest.mark.parametrize("score", OVERLAPS.values(), ids=OVERLAPS)
def test_bad_input_is_one_line(
    score: Callable[..., np.ndarray], maps: np.ndarray, masks: np.ndarray, threshold: str | float, message: str
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        score(maps, masks, threshold)
    assert "\n" not in str(refused.value)


def test_a_map_that_is_not_finite_has_its_own_status() -> None:
    with pytest.raises(DataError) as refused:
        wioa(np.full((1, 2), np.nan), np.ones((1, 2)))
    assert refused.value.status == NOT_FINITE


@pytest.mark.parametrize("values", [np.zeros(5), np.array([]), np.array([0.0, np.nan])])
def test_otsu_refuses_values_without_two_classes(values: np.ndarray) -> None:
    with pytest.raises(DataError, match="for Otsu's threshold"):
        otsu_threshold(values)
