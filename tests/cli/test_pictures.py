"""What the pictures show: colours, place, and the right object."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.fixtures import CAT, LITE0, PAIR, Run, pixels

# On what the network sees of demo/cat_and_espresso.jpg: the cat's half, and the outline of the cup.
_CAT = [(0, 0), (111, 0), (111, 223), (0, 223)]
_CUP = [(122, 0), (223, 0), (223, 130), (190, 160), (160, 165), (140, 150), (128, 110), (120, 60)]


def _mask(outline: list[tuple[int, int]]) -> np.ndarray:
    mask = np.zeros((224, 224), np.uint8)
    cv2.fillPoly(mask, [np.array(outline)], 1)
    return mask.astype(bool)


@pytest.mark.parametrize("method", ["cam", "gradcam", "xgradcam", "hirescam", "eigengradcam"])
def test_each_class_lights_its_own_object(run: Run, tmp_path: Path, method: str) -> None:
    run("vis", PAIR, LITE0, "--method", method, "--target-category", "967", "282", "--save-raw", "a.npz")

    with np.load(tmp_path / "a.npz") as arrays:
        espresso, cat = arrays[f"map/{method}"]
    for saliency, own, other in ((espresso, _CUP, _CAT), (cat, _CAT, _CUP)):
        share = saliency[_mask(own)].sum() / saliency.sum()
        # The cup covers 30 % of the picture, the cat 50 %.
        assert share > 0.7
        assert saliency[_mask(other)].sum() / saliency.sum() < 0.15


def _seen(path: str) -> np.ndarray:
    from mmpretrain.datasets.transforms import CenterCrop, ResizeEdge

    results = {"img": cv2.imread(path)}
    results = ResizeEdge(scale=256, edge="short", backend="pillow", interpolation="bicubic")(results)
    return cv2.cvtColor(CenterCrop(crop_size=224)(results)["img"], cv2.COLOR_BGR2RGB)


def test_at_opacity_0_the_overlay_is_exactly_what_the_network_saw(run: Run, tmp_path: Path) -> None:
    run("vis", CAT, LITE0, "--opacity", "0", "--save-path", "seen.png")

    np.testing.assert_array_equal(pixels(tmp_path / "seen.png"), _seen(CAT))


def test_at_opacity_1_the_overlay_is_the_heat_map(run: Run, tmp_path: Path) -> None:
    run("vis", CAT, LITE0, "--opacity", "1", "--save-path", "over.png")
    run("vis", CAT, LITE0, "--figure", "heatmap", "--save-path", "heat.png")

    np.testing.assert_array_equal(pixels(tmp_path / "over.png"), pixels(tmp_path / "heat.png"))


def test_strong_is_red_and_weak_is_blue(run: Run, tmp_path: Path) -> None:
    run("vis", CAT, LITE0, "--figure", "heatmap", "--save-path", "heat.png", "--save-raw", "a.npz")

    heat = pixels(tmp_path / "heat.png").astype(int)
    with np.load(tmp_path / "a.npz") as arrays:
        saliency = arrays["map/gradcam"][0]
    assert (heat[saliency > 0.85][:, 0] > heat[saliency > 0.85][:, 2] + 100).all()
    assert (heat[saliency < 0.1][:, 2] > heat[saliency < 0.1][:, 0] + 100).all()


def test_the_colormap_is_obeyed(run: Run, tmp_path: Path) -> None:
    run("vis", CAT, LITE0, "--figure", "heatmap", "--colormap", "bone", "--save-path", "bone.png", "--save-raw", "a.npz")

    brightness = pixels(tmp_path / "bone.png").sum(axis=2)
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.corrcoef(brightness.ravel(), arrays["map/gradcam"].ravel())[0, 1] > 0.99


def test_original_keeps_the_pictures_own_size_and_draws_where_the_network_looked(run: Run, tmp_path: Path) -> None:
    original = cv2.cvtColor(cv2.imread(CAT), cv2.COLOR_BGR2RGB)
    height, width = original.shape[:2]
    run("vis", CAT, LITE0, "--original", "--save-path", "original.png")
    run("vis", CAT, LITE0, "--original", "--opacity", "0", "--save-path", "plain.png")

    np.testing.assert_array_equal(pixels(tmp_path / "plain.png"), original)
    drawn = pixels(tmp_path / "original.png")
    assert drawn.shape == original.shape
    changed = (drawn != original).any(axis=2)
    rows, columns = np.nonzero(changed)
    # 224 of 256 rows, in the middle; one pixel of tolerance.
    side = 224 / 256 * height
    assert rows.min() == pytest.approx((height - side) / 2, abs=1.5)
    assert rows.max() == pytest.approx((height + side) / 2, abs=1.5)
    assert columns.min() == pytest.approx((width - side) / 2, abs=1.5)
    assert columns.max() == pytest.approx((width + side) / 2, abs=1.5)


def test_original_puts_the_map_on_the_same_object(run: Run, tmp_path: Path) -> None:
    run("vis", PAIR, LITE0, "--original", "--target-category", "967", "--figure", "heatmap", "--colormap", "bone", "--save-path", "cup.png")

    energy = pixels(tmp_path / "cup.png").astype(float).sum(axis=2)
    assert energy[:, 200:].sum() > 0.7 * energy.sum()  # the cup is the right half of 400 columns


def test_a_panel_shows_input_map_and_overlay_side_by_side(run: Run, tmp_path: Path) -> None:
    run("vis", CAT, LITE0, "--figure", "panel", "--save-path", "panel.png")
    run("vis", CAT, LITE0, "--figure", "heatmap", "--save-path", "heat.png")
    run("vis", CAT, LITE0, "--save-path", "over.png")

    panel = pixels(tmp_path / "panel.png")
    tiles = [panel[8:232, left : left + 224] for left in (8, 240, 472)]
    np.testing.assert_array_equal(tiles[0], _seen(CAT))
    np.testing.assert_array_equal(tiles[1], pixels(tmp_path / "heat.png"))
    np.testing.assert_array_equal(tiles[2], pixels(tmp_path / "over.png"))
    assert (panel[232:].min(axis=2) < 100).any()  # captions in ink
