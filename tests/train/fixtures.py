"""A training of seconds: a folder of small pictures of two classes, and a config of a small network."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.cli.fixtures import ROOT

SCRIPT = ROOT / "tools/train.py"

CONFIG = """
default_scope = "mmpretrain"
custom_imports = dict(imports=["tests.train.dying"])
model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="ResNet", depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,), base_channels=8, stem_channels=8
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=2, in_channels=16, loss=dict(type="CrossEntropyLoss")),
    data_preprocessor=dict(num_classes=2, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=16),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="ResizeEdge", scale=16), dict(type="PackInputs")]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="CustomDataset", data_root="{folder}", data_prefix="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="CustomDataset", data_root="{folder}", data_prefix="val", pipeline=test_pipeline),
)
test_dataloader = val_dataloader
train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=1)
val_cfg = dict()
val_evaluator = [dict(type="Accuracy", topk=(1,)), dict(type="camtool.ValidationLoss")]
optim_wrapper = dict(optimizer=dict(type="Adam", lr=0.03))
param_scheduler = dict(type="ReduceOnPlateauLR", monitor="cross_entropy/mean", rule="less", factor=0.5, patience=0, min_value=1e-6)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1), logger=dict(type="LoggerHook", interval=2))
custom_hooks = [dict(type="camtool.EarlyStoppingHook", patience=3), dict(type="Dying")]
randomness = dict(seed=0)
"""

Train = Callable[..., Any]


def write_pictures(folder: Path, train: int = 7, val: int = 4) -> Path:
    """Write `train` and `val` pictures of each of two classes, which noise makes hard to tell apart."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                picture = generator.normal(118 + 9 * label, 45, (16, 16, 3)).clip(0, 255).astype(np.uint8)
                assert cv2.imwrite(str(folder / split / name / f"{index}.png"), picture)
    return folder


def write_config(folder: Path, content: str = CONFIG, name: str = "tiny.py") -> Path:
    """Write the config of a training on the pictures in `folder`."""
    path = folder / name
    path.write_text(content.replace("{folder}", str(folder)))
    return path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config, beside its pictures."""
    monkeypatch.delenv("DIE_AT", raising=False)
    monkeypatch.delenv("DIE_WRITING", raising=False)
    # mmengine lays the config out anew for every checkpoint, which takes longer than an epoch here.
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, **_: (text, False))
    return write_config(write_pictures(tmp_path))


def started(
    *arguments: Any, folder: Path, program: tuple[str, ...] = (sys.executable,), limit: int = 300, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run tools/train.py in a process of its own, for `limit` seconds at most."""
    return subprocess.run(
        [*program, str(SCRIPT), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


def read(path: Path) -> dict[str, Any]:
    """Return a checkpoint, read as plain data only."""
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def of_training(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of the training, without names of files, times and how long it took."""
    notes = {"cfg", "experiment_name", "last_ckpt", "eta", "max_memory"}
    hub = checkpoint["message_hub"]
    for state in checkpoint["random_state"]:
        del state["python"]  # beartype, which checks types while testing, draws from it
    return {
        **{key: value for key, value in checkpoint.items() if key not in ("meta", "message_hub")},
        "epoch": checkpoint["meta"]["epoch"],
        "iter": checkpoint["meta"]["iter"],
        "seed": checkpoint["meta"]["seed"],
        "history": {key: value for key, value in hub["log_scalars"].items() if not key.endswith("time")},
        "notes": {key: value for key, value in hub["runtime_info"].items() if key not in notes},
    }


def assert_same(one: Any, other: Any, name: str = "") -> None:
    """Compare bit for bit, and say what differs."""
    assert type(one) is type(other) or (isinstance(one, dict) and isinstance(other, dict)), name
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, name
        assert one.equal(other), name
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), f"{name}: {one.keys() ^ other.keys()}"
        for key in one:
            assert_same(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), name
        for index, (mine, yours) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, yours, f"{name}[{index}]")
    else:
        assert one == other, name
