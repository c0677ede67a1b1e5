"""Curves: a picture in the work directory, that a resumed training continues, and events for TensorBoard."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from camtool.visualization.training_curves import draw_curves
from tests.cli.fixtures import Run, pixels
from tests.train.fixtures import read


def test_the_picture_has_a_line_for_each_curve(tmp_path: Path) -> None:
    rising = {"training": [(1, 0.0), (2, 1.0)]}
    pictures = []
    for number, panels in enumerate(
        ({"loss": rising}, {"loss": {**rising, "validation": [(1, 1.0), (2, 0.0)]}}, {"loss": rising, "accuracy": rising})
    ):
        path = tmp_path / f"{number}.png"
        path.write_bytes(draw_curves(panels))
        pictures.append(pixels(path))

    one, two, wide = pictures
    assert _orange(one) == 0 < _orange(two)
    assert wide.shape[1] == 2 * one.shape[1]


def _orange(picture: np.ndarray) -> int:
    return int((np.abs(picture.astype(int) - (255, 127, 14)).sum(axis=2) < 20).sum())


def test_a_resumed_training_continues_its_curves(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "work"
    for epochs in (1, 2):
        finished = run("train", config, "--work-dir", folder, "--resume", "--cfg-options", f"train_cfg.max_epochs={epochs}")
        assert finished.exit_code == 0, finished.stderr

    saved = read(folder / "epoch_2.pth")["message_hub"]
    curves, history = saved["runtime_info"]["curves"], saved["log_scalars"]
    assert curves.keys() == {"train/loss", "val/accuracy/top1", "val/cross_entropy/mean"}
    assert [epoch for epoch, _ in curves["train/loss"]] == [epoch for epoch, _ in curves["val/accuracy/top1"]] == [1, 2]
    assert curves["train/loss"][1][1] == pytest.approx(history["train/loss"]["values"][4:].mean().item())
    assert curves["val/cross_entropy/mean"][1][1] == history["val/cross_entropy/mean"]["values"][1].item()
    assert pixels(folder / "curves.png").shape[1] == 1000
    events = list(folder.glob("*/vis_data/events.out.tfevents.*"))
    assert len(events) == 2
    assert f"curves: {folder / 'curves.png'}" in finished.stdout


def test_without_tensorboard_there_are_no_events_and_a_remark(
    config: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest))

    finished = run("train", config, "--work-dir", tmp_path / "work", "--cfg-options", "train_cfg.max_epochs=1")

    assert finished.exit_code == 0, finished.stderr
    assert "TensorBoard is not installed" in finished.stderr
    assert not list(tmp_path.glob("work/*/vis_data/events*"))
    assert (tmp_path / "work/curves.png").is_file()
