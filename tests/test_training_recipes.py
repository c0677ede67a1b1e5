"""Recipes that train, and, trained on scenes whose answers are known, where the class activation map lies and what erasing does."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from camtool.data.shapes import Scene, ShapeScenes
from camtool.models import load_network
from camtool.models.configs import load_config
from tests.data.known_answers import Answers, ask
from tests.data.test_datasets import fake_imagenette

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
CNN = CONFIGS / "shapes/cnn_tiny_shapes.py"
HELD_OUT = 240
EPOCHS = 5


def trained(config: Path, work_dir: Path, options: dict[str, Any]) -> Path:
    """Train a recipe with mmengine's Runner; returns its last checkpoint."""
    from mmengine.runner import Runner

    loaded = Config.fromfile(config)
    loaded.merge_from_dict({"work_dir": str(work_dir), "log_level": "ERROR", **options})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries
            Runner.from_cfg(loaded).train()
    finally:
        torch.set_num_threads(threads)
    return work_dir / (work_dir / "last_checkpoint").read_text().strip().rpartition("/")[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network after a quarter of its recipe's iterations: it is far from done, and looks at the right place already."""
    decay = {"type": "CosineAnnealingLR", "T_max": EPOCHS, "by_epoch": True, "convert_to_iter_based": True}
    options = {"train_cfg.max_epochs": EPOCHS, "param_scheduler": [decay], "train_dataloader.dataset.count": 5000}
    return trained(CNN, tmp_path_factory.mktemp("cnn"), options)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    return load_network(load_config(str(CNN)), str(checkpoint)).model


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Scenes that no training and no validation has seen."""
    return [ShapeScenes(split="test").scene(index) for index in range(HELD_OUT)]


@pytest.fixture(scope="module")
def answers(model: Any, scenes: list[Scene]) -> Answers:
    return ask(model, lambda pictures: inputs_of(model, pictures), scenes)


def inputs_of(model: Any, pictures: Tensor) -> Tensor:
    return model.data_preprocessor({"inputs": pictures.flip(1)}, False)["inputs"]  # to BGR, as a data set hands them over


def test_held_out_scenes_are_partly_known(answers: Answers) -> None:
    assert answers.accuracy >= 1 / 3  # twice chance


def test_the_map_covers_the_object_and_not_the_distractor(answers: Answers) -> None:
    assert answers.energy >= 2.5
    assert answers.object_to_distractor >= 2


def test_erasing_the_object_flips_the_class(answers: Answers) -> None:
    assert answers.flips >= 0.95


# Imagenette


IMAGENETTE = CONFIGS / "resnet_cam/resnet18_cam_imagenette-160px.py"


def test_the_imagenette_recipe_has_every_setting_of_the_original() -> None:
    config = Config.fromfile(IMAGENETTE)
    optimizer, (plateau,), (stopping,) = config.optim_wrapper.optimizer, as_list(config.param_scheduler), config.custom_hooks
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("Adam", 1e-3, 1e-4)
    assert (config.train_dataloader.batch_size, config.train_cfg.max_epochs) == (64, 50)
    assert (plateau.type, plateau.factor, plateau.patience, plateau.min_value) == ("ReduceOnPlateauLR", 0.5, 3, 1e-6)
    assert (stopping.monitor, stopping.rule, stopping.patience) == ("accuracy/top1", "greater", 5)
    assert (config.default_hooks.logger.interval, config.default_hooks.checkpoint.interval) == (10, 2)
    assert config.val_dataloader.dataset["indices"] == 1000
    assert [step.type for step in config.train_dataloader.dataset.pipeline[1:3]] == ["RandomResizedCrop", "RandomFlip"]
    assert [step.type for step in config.val_dataloader.dataset.pipeline[1:3]] == ["ResizeEdge", "CenterCrop"]
    assert {step.get("scale", step.get("crop_size")) for step in config.val_dataloader.dataset.pipeline[1:3]} == {160}
    assert (config.model.depth, config.model.num_classes, config.model.get("base_channels", 64)) == (18, 10, 64)


def as_list(one: Any) -> list[Any]:
    return one if isinstance(one, list) else [one]


def test_the_imagenette_recipe_trains_on_a_folder(tmp_path: Path) -> None:
    fake_imagenette(tmp_path / "data", per_class=2)
    options = {f"{split}_dataloader.dataset.data_root": str(tmp_path / "data") for split in ("train", "val", "test")}
    options |= {f"{split}_dataloader.num_workers": 0 for split in ("train", "val", "test")}
    checkpoint = trained(IMAGENETTE, tmp_path / "work", {**options, "model.base_channels": 4, "train_cfg.max_epochs": 2})
    network = load_network(load_config(str(IMAGENETTE), {"model.base_channels": 4}), str(checkpoint))
    names, _ = network.class_names(10)
    assert checkpoint.name == "epoch_2.pth"
    assert names is not None
    assert names[6] == "garbage truck"
    assert network.model.get_parameter("head.fc.bias").abs().max() > 0
