"""Means over batches, classes and processes are those of all samples together."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from camtool.errors import DataError
from camtool.metrics import MeanScore, SummedScore, by_class, deletion, iou, max_box_accuracy, mean_of_classes, pxap
from tests.networks import images, small_net


def itself(values: np.ndarray, factor: float = 1.0) -> np.ndarray:
    return values * factor


def test_batches_add_up_to_the_mean_of_all_samples_and_of_each_class() -> None:
    total = MeanScore(itself, factor=2.0)
    np.testing.assert_array_equal(total.update(np.array([1.0, 2.0, math.nan]), classes=["a", "b", "b"]), [2, 4, math.nan])
    total.update(np.array([6.0]), classes=["a"])
    found = total.compute()
    assert (found.mean, found.count, found.left_out) == (6, 3, 1)
    assert found.by_class == {"a": 7, "b": 4}
    assert found.counts == {"a": 2, "b": 1}
    assert found.mean_of_classes == 5.5
    total.update(np.array([0.0]), factor=1.0)  # of no class
    assert total.compute().mean == 4.5
    assert total.compute().by_class == {"a": 7, "b": 4}
    total.reset()
    empty = total.compute()
    assert math.isnan(empty.mean)
    assert math.isnan(empty.mean_of_classes)
    assert (empty.count, empty.left_out, empty.by_class) == (0, 0, {})


def test_a_score_that_runs_the_network_adds_up() -> None:
    model, inputs, maps = small_net(2), images(2, count=4), torch.rand(4, 10, 14)
    total = MeanScore(deletion, step=35)
    for part in (slice(0, 3), slice(3, 4)):
        total.update(model, inputs[part], maps[part], 1, classes=[1] * len(maps[part]))
    assert total.compute().by_class[1] == pytest.approx(deletion(model, inputs, maps, 1, step=35).mean(), abs=1e-6)


def test_what_is_no_score_a_sample_is_refused_and_adds_nothing() -> None:
    total = MeanScore(lambda: {"gradcam": np.ones(2)})
    with pytest.raises(DataError, match="one score a sample, got a dict"):
        total.update()
    total = MeanScore(itself)
    with pytest.raises(DataError, match=r"one score a sample, got shape \(2, 2\)"):
        total.update(np.ones((2, 2)))
    with pytest.raises(DataError, match="a class of each of 2 samples, got 1"):
        total.update(np.ones(2), classes=[0])
    assert total.compute().count == 0
    with pytest.raises(DataError, match="masks"):
        MeanScore(iou).update(np.array([[0.0, 1.0]]), np.ones((1, 3)))


@pytest.mark.parametrize("labels", [torch.tensor([1, 1, 2]), np.array([1, 1, 2]), list(torch.tensor([1, 1, 2])), [1, 1, 2]])
def test_a_class_is_the_same_in_a_tensor_an_array_and_a_list(labels: Any) -> None:
    scores = np.array([0.0, 1.0, 1.0])
    total = MeanScore(itself)
    total.update(scores, classes=labels)
    total.update(scores, classes=[1, 1, 2])
    assert total.compute().by_class == by_class(scores, labels) == {1: 0.5, 2: 1.0}
    assert total.compute().counts == {1: 4, 2: 2}
    assert mean_of_classes(scores, labels) == 0.75


def test_a_sample_has_one_class() -> None:
    total = MeanScore(itself)
    with pytest.raises(DataError, match="of each sample its class"):
        total.update(np.ones(2), classes=torch.eye(2))
    with pytest.raises(DataError, match="of each sample its class"):
        by_class(np.ones(2), np.eye(2))
    assert total.compute().count == 0


@pytest.mark.parametrize("size", [(12,), (6, 7), (4, 5, 3)])
def test_counts_of_batches_add_up_to_those_of_all(size: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    maps, masks = generator.random((5, *size)), generator.random((5, *size)) > 0.6
    boxes = np.stack([np.stack([np.ones(len(size)), np.full(len(size), 3)], axis=1)[None]] * 5).astype(int)
    for score, truth, figure in ((pxap, masks, "area"), (max_box_accuracy, boxes, "accuracy")):
        total = SummedScore(score, step=0.1)
        for part in (slice(0, 2), slice(2, 5)):
            total.update(maps[part], truth[part])
        assert getattr(total.compute(), figure) == getattr(score(maps, truth, step=0.1), figure)
        total.reset()
        with pytest.raises(DataError, match="at least one sample"):
            total.compute()
    with pytest.raises(DataError, match="try MeanScore"):
        SummedScore(iou).update(maps, masks)


def _in_a_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    total = MeanScore(itself)
    total.update(np.array([1.0, 2.0]) if rank == 0 else np.array([6.0, math.nan]), classes=["a", "b"] if rank == 0 else ["b", "c"])
    found = total.compute()
    counts = SummedScore(pxap, step=0.5)
    if rank == 1:  # the other one has no sample
        counts.update(np.array([[1.0, 0.0]]), np.array([[False, True]]))
    assert counts.compute().area == 0.5
    Path(folder, f"{rank}.txt").write_text(repr((found.mean, found.count, found.left_out, found.by_class, found.counts)))
    dist.destroy_process_group()


@pytest.mark.slow  # two processes that import torch
@pytest.mark.skipif(not dist.is_available(), reason="torch without processes")
def test_processes_have_the_mean_of_all_of_them(tmp_path: Path) -> None:
    mp.spawn(_in_a_process, (str(tmp_path),), nprocs=2)
    expected = repr((3.0, 3, 1, {"a": 1.0, "b": 4.0}, {"a": 1, "b": 2}))
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == [expected, expected]
