"""A picture that cannot be read is named, counted and left out, or ends the training."""

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from camtool.train.collate import collate_readable
from camtool.train.config import training_config
from camtool.train.metrics import ValidationLoss
from camtool.train.skip_broken import Broken, SkipBroken
from tests.cli.fixtures import Run
from tests.train.fixtures import read

ONE_EPOCH = ("--cfg-options", "train_cfg.max_epochs=1")


def _truncated_jpeg(path: Path) -> Path:
    import cv2

    written = path.with_suffix(".jpg")
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert cv2.imwrite(str(written), picture)
    os.truncate(written, written.stat().st_size // 2)
    path.unlink()
    return written


@pytest.fixture
def broken(config: Path) -> list[Path]:
    """Pictures of the training and of the validation set that are damaged in different ways."""
    train, val = config.parent / "train", config.parent / "val"
    empty, text = train / "light/3.png", val / "dark/2.png"
    empty.write_bytes(b"")
    text.write_text("this is no picture")
    return [_truncated_jpeg(train / "dark/1.png"), empty, text]


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_pictures_are_named_counted_once_and_left_out(
    config: Path, broken: list[Path], tmp_path: Path, run: Run, workers: int
) -> None:
    options = ("train_cfg.max_epochs=2", f"train_dataloader.num_workers={workers}", "default_hooks.logger.interval=1")
    finished = run("train", config, "--work-dir", tmp_path / "work", "--cfg-options", *options)

    assert finished.exit_code == 0, finished.stderr
    for path in broken:
        assert finished.stderr.count(f"Picture '{path}' is skipped") == 1
    assert "3 pictures could not be read and were skipped" in finished.stderr
    assert "3 pictures could not be read and were skipped" in finished.stdout
    saved = read(tmp_path / "work/epoch_2.pth")["message_hub"]
    reasons = saved["runtime_info"]["broken_pictures"]
    assert reasons.keys() == {str(path) for path in broken}
    assert "truncated" in reasons[str(broken[0])], "read by OpenCV, which decodes half a picture, or does not say what is wrong"
    right = saved["log_scalars"]["val/accuracy/top1"]["values"] * 7 / 100
    assert right.allclose(right.round()), "the accuracy is that of the seven pictures that can be read"


def test_a_batch_without_a_readable_picture_is_passed_over(config: Path, broken: list[Path], tmp_path: Path, run: Run) -> None:
    options = ("train_cfg.max_epochs=1", "train_dataloader.batch_size=1", "val_dataloader.batch_size=1", "randomness.seed=1")
    finished = run("train", config, "--work-dir", tmp_path / "work", "--cfg-options", *options)

    assert finished.exit_code == 0, finished.stderr
    checkpoint = read(tmp_path / "work/epoch_1.pth")
    assert checkpoint["meta"]["iter"] == 14
    assert len(checkpoint["message_hub"]["log_scalars"]["train/loss"]["values"]) == 12


def test_strict_ends_the_training_at_the_first_one(config: Path, broken: list[Path], tmp_path: Path, run: Run) -> None:
    finished = run("train", config, "--work-dir", tmp_path / "work", "--strict", *ONE_EPOCH)

    assert finished.exit_code == 2
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: Picture '")
    assert any(str(path) in last for path in broken)


@pytest.mark.parametrize(("split", "next_step"), [("train", "RandomResizedCrop"), ("val", "ResizeEdge")])
def test_a_pipeline_that_reads_no_picture_at_all_is_an_error(config: Path, tmp_path: Path, run: Run, split: str, next_step: str) -> None:
    without = re.sub(rf'dict\(type="LoadImageFromFile"\),\s+(dict\(type="{next_step}")', r"\1", config.read_text())
    config.write_text(without)

    finished = run("train", config, "--work-dir", tmp_path / "work", *ONE_EPOCH)

    assert finished.exit_code == 2, finished.stderr
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Error: No picture of '{split}_dataloader' can be read: none of the first 8. ")
    assert "'img'" in last or "`img`" in last, "the reason is not said"


def test_what_was_broken_before_a_resumption_does_not_count_to_the_first_pictures(config: Path, tmp_path: Path, run: Run) -> None:
    for label in ("dark", "light"):
        for index in range(4):
            (tmp_path / f"train/{label}/{index}.png").write_bytes(b"")
    work = (config, "--work-dir", tmp_path / "work", "--cfg-options", "train_dataloader.batch_size=1")
    assert run("train", *work, "train_cfg.max_epochs=1", "randomness.seed=1").exit_code == 0

    resumed = run("train", *work, "train_cfg.max_epochs=2", "train_dataloader.sampler.shuffle=False", "--resume")

    assert resumed.exit_code == 0, resumed.stderr
    assert len(read(tmp_path / "work/epoch_2.pth")["message_hub"]["runtime_info"]["broken_pictures"]) == 8


def test_the_mean_loss_of_no_picture_is_no_perfect_loss() -> None:
    assert math.isnan(ValidationLoss().compute_metrics([])["mean"])
    assert ValidationLoss().compute_metrics([1.0, 2.0])["mean"] == 1.5


class _Pictures:
    """A data set that is none of mmengine's."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index == 1:
            raise OSError("image file is truncated")
        return {"inputs": torch.full((1,), float(index))}


def test_a_broken_sample_stands_for_itself_and_is_left_out_of_the_batch() -> None:
    dataset = SkipBroken(_Pictures())
    samples = [dataset[index] for index in range(len(dataset))]

    assert samples[1] == Broken("sample 1", "OSError: image file is truncated")
    batch = collate_readable(samples, "default_collate")
    assert batch["inputs"].tolist() == [[0], [2]]
    assert batch["broken"] == [samples[1]]
    assert collate_readable(samples[1:2]) == {"broken": [samples[1]]}
    assert collate_readable(samples[:1], "default_collate").keys() == {"inputs"}


def _padded(samples: list[Any], padding: int = 0) -> dict[str, list[Any]]:
    return {"inputs": [*samples, *[0] * padding]}


@pytest.mark.parametrize(
    ("collate", "inputs"),
    [
        ({"type": "pseudo_collate"}, [1]),
        ({"type": _padded, "padding": 2}, [1, 0, 0]),
        (_padded, [1]),
        ({"type": "camtool.collate_readable", "collate": "pseudo_collate"}, [1]),
    ],
)
def test_whatever_makes_the_batches_sees_no_broken_picture(config: Path, collate: Any, inputs: list[int]) -> None:
    ready = training_config(str(config), {"train_dataloader.collate_fn": collate}).train_dataloader.collate_fn

    assert ready.pop("type") == "camtool.collate_readable"
    broken, readable = Broken("1.png", "it is not an image"), 1 if callable(collate) or callable(collate["type"]) else {"inputs": 1}
    assert collate_readable([broken, readable], **ready) == {"inputs": inputs, "broken": [broken]}
