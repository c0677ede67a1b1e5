"""A tiny network trained by mmengine's own Runner, for seconds, on a folder of pictures whose classes are colours of a square."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("blue", "green", "red")
"""In the data set's order, which is the folders'."""

SIZE, SIDE = 32, 12
PER_CLASS = {"train": 16, "val": 6}

CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16))
data_preprocessor = dict(num_classes=3, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=1.0), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=16, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='data/train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='data/val', pipeline=test_pipeline))
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader, test_evaluator = val_dataloader, val_evaluator
train_cfg, val_cfg, test_cfg = dict(by_epoch=True, max_epochs=12, val_interval=3), dict(), dict()
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.02))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=0.02, total_steps=12, by_epoch=True, convert_to_iter_based=True),
    dict(type='ReduceOnPlateauLR', monitor='accuracy/top1', rule='greater', patience=9)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=12, save_best='accuracy/top1'))
randomness = dict(seed=0)
log_level = 'ERROR'
work_dir = 'work'
"""

_TRAIN = """
import torch
from mmengine.config import Config
from mmengine.runner import Runner

torch.set_num_threads(1)
Runner.from_cfg(Config.fromfile("config.py")).train()
"""


def make_pictures(folder: Path) -> None:
    """Write `data/SPLIT/CLASS/NUMBER.png`: a square of the class's colour, at a place of its own, on grey noise."""
    random = np.random.default_rng(0)
    for split, count in PER_CLASS.items():
        for name in NAMES:
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(picture(name, random)).save(folder / "data" / split / name / f"{number:02d}.png")


def picture(name: str, random: np.random.Generator) -> np.ndarray:
    """Return a picture of a class in RGB."""
    drawn = np.repeat(random.integers(90, 160, (SIZE, SIZE, 1), dtype=np.uint8), 3, axis=2)
    top, left = random.integers(0, SIZE - SIDE, 2)
    drawn[top : top + SIDE, left : left + SIDE] = [230 if name == one else 20 for one in ("red", "green", "blue")]
    return drawn


def train(folder: Path) -> Path:
    """Train in `folder`, which gets `config.py`, `data/` and `work/`, in a process of its own; return the Runner's last checkpoint.

    In this process the Runner would leave its default scope, logger and message hub to all later tests.
    """
    make_pictures(folder)
    (folder / "config.py").write_text(CONFIG)
    finished = subprocess.run(
        [sys.executable, "-c", _TRAIN],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return folder / "work/epoch_12.pth"
