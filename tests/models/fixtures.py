"""Networks that are expensive to load, once a session; and configs and checkpoints in temporary files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from camtool.config.loading import LoadedConfig, load_config
from camtool.models import Network, load_network

ROOT = Path(__file__).resolve().parents[2]
LITE0 = str(ROOT / "configs/efficientnet_lite/efficientnet-lite0_in1k.py")

SMALL = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=64))
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=64, edge='short'),
    dict(type='CenterCrop', crop_size=48),
    dict(type='PackInputs')]
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=test_pipeline))
"""


@pytest.fixture(scope="session")
def lite0() -> Network:
    """The embedded default with its own weights."""
    return load_network(load_config(LITE0))


@pytest.fixture(scope="session")
def small_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of a small ResNet with five classes; it names no checkpoint."""
    path = tmp_path_factory.mktemp("configs") / "small.py"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def small(small_path: Path) -> LoadedConfig:
    return load_config(str(small_path))


@pytest.fixture(scope="session")
def small_network(small: LoadedConfig) -> Network:
    """The small ResNet with the random weights of seed 7."""
    return load_network(small, random_weights=True, seed=7)


@pytest.fixture
def state(small_network: Network) -> dict[str, torch.Tensor]:
    """Its state_dict, for a test to change."""
    return {key: value.clone() for key, value in small_network.model.state_dict().items()}


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[..., str]:
    """Write a config's text into a file; returns its path."""

    def write(text: str, name: str = "config.py") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """`torch.save` anything into a file; returns its path."""

    def save(content: Any, name: str = "checkpoint.pth", **settings: Any) -> str:
        torch.save(content, tmp_path / name, **settings)
        return str(tmp_path / name)

    return save
