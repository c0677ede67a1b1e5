"""The short YAML form: each key has its effect on the recipe, and nothing else is accepted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from camtool.config.yaml_config import RECIPE, translated
from camtool.errors import ConfigError
from tests.cli.fixtures import CAT, Run

STAND_IN = """
model = dict(type="camtool.ResNetCAM", depth=18, num_classes=10)
data_preprocessor = dict(num_classes=10, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
load, pack = dict(type="LoadImageFromFile"), dict(type="PackInputs")
train_pipeline = [load, dict(type="RandomResizedCrop", scale=160), dict(type="RandomFlip", prob=0.5), pack]
test_pipeline = [load, dict(type="ResizeEdge", scale=184), dict(type="CenterCrop", crop_size=160), pack]
train_dataloader = dict(batch_size=32, dataset=dict(type="camtool.Imagenette", data_root="data", split="train", pipeline=train_pipeline))
val_dataset = dict(type="camtool.Imagenette", data_root="data", split="val", indices=500, pipeline=test_pipeline)
val_dataloader = dict(batch_size=32, dataset=val_dataset)
test_dataloader = val_dataloader
train_cfg = dict(by_epoch=True, max_epochs=20)
val_cfg = dict()
val_evaluator = dict(type="Accuracy", topk=(1,))
optim_wrapper = dict(optimizer=dict(type="Adam", lr=0.01, weight_decay=0.0))
param_scheduler = [dict(type="StepLR", step_size=3)]
default_hooks = dict(logger=dict(type="LoggerHook", interval=50), checkpoint=dict(type="CheckpointHook", interval=1))
custom_hooks = [dict(type="camtool.EarlyStoppingHook", patience=9, min_delta=0.1)]
"""

FORM = """
model: {name: resnet_cam, input_shape: [3, 128, 128], num_classes: 7, residual: true}
training: {learning_rate: 0.002, batch_size: 16, num_epochs: 12, weight_decay: 1e-4, checkpoint_dir: kept/, log_every: 7, save_every: 3,
           early_stopping_patience: 4, optimizer: sgd, scheduler: cosine}
dataset: {name: imagenette, data_dir: pictures/, img_size: 128, val_size: 90}
"""


def _sizes(config: Any) -> list[int]:
    train, val, test = (config[f"{name}_dataloader"].dataset.pipeline for name in ("train", "val", "test"))
    return [train[1].scale, val[1].scale, val[2].crop_size, test[2].crop_size]


EFFECTS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "model.num_classes": (lambda config: [config.model.num_classes, config.data_preprocessor.num_classes], [7, 7]),
    "model.input_shape": (_sizes, [128, 147, 128, 128]),
    "dataset.img_size": (_sizes, [128, 147, 128, 128]),
    "dataset.data_dir": (
        lambda config: [config[f"{name}_dataloader"].dataset.data_root for name in ("train", "val", "test")],
        ["pictures/"] * 3,
    ),
    "dataset.val_size": (
        lambda config: [config.val_dataloader.dataset.indices, config.train_dataloader.dataset.get("indices")],
        [90, None],
    ),
    "training.learning_rate": (lambda config: config.optim_wrapper.optimizer.lr, 0.002),
    "training.weight_decay": (lambda config: config.optim_wrapper.optimizer.weight_decay, 1e-4),
    "training.batch_size": (lambda config: [config[f"{name}_dataloader"].batch_size for name in ("train", "val", "test")], [16] * 3),
    "training.num_epochs": (lambda config: config.train_cfg.max_epochs, 12),
    "training.checkpoint_dir": (lambda config: config.get("work_dir"), "kept/"),
    "training.log_every": (lambda config: config.default_hooks.logger.interval, 7),
    "training.save_every": (lambda config: config.default_hooks.checkpoint.interval, 3),
    "training.early_stopping_patience": (
        lambda config: [dict(hook) for hook in config.custom_hooks],
        [{"type": "camtool.EarlyStoppingHook", "patience": 4, "min_delta": 0.1}],
    ),
    "training.optimizer": (
        lambda config: [config.optim_wrapper.optimizer.type, config.optim_wrapper.optimizer.get("momentum")],
        ["SGD", 0.9],
    ),
    "training.scheduler": (lambda config: [dict(one) for one in config.param_scheduler], None),
}


@pytest.fixture
def translate(tmp_path: Path) -> Callable[[Any], Any]:
    """Translate what is given, text or parts, onto a stand-in for the recipe."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text(STAND_IN)

    def translate(content: Any) -> Any:
        path = tmp_path / "cam_config.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return translated(path, recipe)

    return translate


@pytest.mark.parametrize("key", EFFECTS)
def test_a_key_alone_has_its_effect_and_none_on_the_others(translate: Callable[[Any], Any], key: str) -> None:
    part, _, name = key.partition(".")
    plain, changed = translate({}), translate({part: {name: yaml.safe_load(FORM)[part][name]}})

    for other, (effect, expected) in EFFECTS.items():
        if other == key and expected is not None:
            assert effect(changed) == expected != effect(plain)
        elif {other, key} != {"model.input_shape", "dataset.img_size"} and other != key:
            assert effect(changed) == effect(plain), other


def test_the_whole_form(translate: Callable[[Any], Any]) -> None:
    config = translate(FORM)

    for effect, expected in EFFECTS.values():
        assert expected is None or effect(config) == expected
    assert [dict(one) for one in config.param_scheduler] == [{"type": "CosineAnnealingLR", "T_max": 12, "by_epoch": True}]
    assert config.filename.endswith("cam_config.py")


def test_the_plateau_scheduler_is_the_seeds_and_adam_has_no_momentum(translate: Callable[[Any], Any]) -> None:
    config = translate({"training": {"scheduler": "reduce_lr", "optimizer": "adam"}})

    (scheduler,) = config.param_scheduler
    assert dict(scheduler) == {
        "type": "ReduceOnPlateauLR", "monitor": "cross_entropy/mean", "rule": "less", "factor": 0.5, "patience": 3, "min_value": 1e-6
    }  # fmt: skip
    assert [one.type for one in config.val_evaluator] == ["Accuracy", "camtool.ValidationLoss"], "nothing gives what it monitors"
    assert dict(config.optim_wrapper.optimizer) == {"type": "Adam", "lr": 0.01, "weight_decay": 0.0}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model: [", "is not valid YAML"),
        ("- 1", "holds list; expected model, training, dataset"),
        ("trainig: {}", "has no key 'trainig'; closest: 'training'"),
        ("training: {learning_rat: 0.1}", r"'training' of config .* has no key 'learning_rat'; closest: 'learning_rate'"),
        ("training: {optimizer: adan}", "'training.optimizer' of config .* is 'adan'; expected adam or sgd"),
        ("training: {num_epochs: 2.5}", "is 2.5; expected a whole number of at least 1"),
        ("training: {batch_size: true}", "is True; expected a whole number"),
        ("training: {learning_rate: .nan}", "is nan; expected a number above 0"),
        ("training: 3", "'training' of config .* is 3; expected learning_rate"),
        ("model: {residual: false}", "is False; expected true: the network is a ResNet"),
        ("model: {name: resnet}", "is 'resnet'; expected resnet_cam"),
        ("model: {input_shape: [3, 160, 128]}", "height equal to width"),
        ("{model: {input_shape: [3, 160, 160]}, dataset: {img_size: 128}}", "and dataset.img_size 128 differ"),
        ("a: !!python/object/apply:os.system ['true']", "is not valid YAML: could not determine a constructor"),
    ],
)
def test_what_is_not_the_form_is_refused(translate: Callable[[Any], Any], content: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        translate(content)


@pytest.mark.parametrize("option", [(), ("--config",)])
def test_the_command_line_takes_the_form(tmp_path: Path, run: Run, option: tuple[str, ...]) -> None:
    (tmp_path / "cam_config.yaml").write_text("training: {epochs: 3}")

    finished = run("train", *option, "cam_config.yaml")

    assert finished.exit_code == 2
    assert finished.stderr.startswith("Error: 'training' of config 'cam_config.yaml' has no key 'epochs'")
    assert RECIPE.name == "resnet18_cam_imagenette-160px.py"


def test_what_looks_at_the_network_takes_the_form_too(tmp_path: Path, run: Run) -> None:
    (tmp_path / "cam_config.yaml").write_text("model: {num_classes: 4}")
    (tmp_path / "openmmlabs.yaml").write_text("_base_: [base.py]")
    (tmp_path / "base.py").write_text(STAND_IN.replace("num_classes=10", "num_classes=4"))

    for config in ("cam_config.yaml", "openmmlabs.yaml"):
        report = run("vis", CAT, config, "--random-weights", "--json").report
        assert len(report["top5"]) == 4
