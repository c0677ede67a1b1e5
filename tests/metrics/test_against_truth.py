"""What is asked of every score against annotations: it falls as a map fades from the truth to noise, and ranks truth, chance, inversion."""

from collections.abc import Callable

import numpy as np
import pytest

from camtool.metrics import energy, focus, iou, max_box_accuracy, pointing, pxap, random_maps, rank_accuracy
from tests.metrics.samples import SIZES, fading, objects

Score = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

SCORES: dict[str, Score] = {
    "energy": lambda maps, masks, _: float(energy(maps, masks).mean()),
    "rank accuracy": lambda maps, masks, _: float(rank_accuracy(maps, masks).mean()),
    "pointing": lambda maps, masks, _: float(pointing(maps, masks, tolerance=0).mean()),
    "iou": lambda maps, masks, _: float(iou(maps, masks).mean()),
    "wsol 1": lambda maps, _, boxes: max_box_accuracy(maps, boxes, version=1, step=0.01).accuracy,
    "wsol 2": lambda maps, _, boxes: max_box_accuracy(maps, boxes, step=0.01).accuracy,
    "pxap": lambda maps, masks, _: pxap(maps, masks).area,
}
FADES = np.linspace(0, 1, 6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_a_score_falls_as_maps_fade_to_noise(score: Score, size: tuple[int, ...]) -> None:
    masks, boxes = objects(size, 60)
    values = [score(fading(masks, share), masks, boxes) for share in FADES]
    assert (np.diff(values) <= 1e-9).all(), values
    assert values[0] > 0.99
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_truth_is_above_chance_and_chance_above_inversion(score: Score, size: tuple[int, ...]) -> None:
    masks, boxes = objects(size, 60)
    near = fading(masks, 0.2)
    oracle, chance, inverted = (score(maps, masks, boxes) for maps in (near, random_maps(masks.shape, seed=1).numpy(), 1 - near))
    assert oracle > chance > inverted


@pytest.mark.parametrize(("size", "grid"), [((60,), (4,)), ((16, 20), (2, 2)), ((8, 8, 10), (1, 2, 2))])
def test_focus_falls_and_ranks_likewise(size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    cells = np.zeros((30, 4), bool)
    for row in cells:
        row[np.random.default_rng(len(row)).permutation(4)[:2]] = True
    cells = cells.reshape(-1, *grid)
    masks = cells
    for axis, (side, count) in enumerate(zip(size, grid, strict=True), start=1):
        masks = masks.repeat(side // count, axis=axis)
    values = [focus(fading(masks, share), cells).mean() for share in FADES]
    assert (np.diff(values) < 0).all()
    assert values[0] == 1
    assert values[-1] == pytest.approx(0.5, abs=0.05)
    assert focus(1.0 - masks, cells).max() == 0
