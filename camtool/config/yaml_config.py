"""Translate a short YAML file with `model`, `training` and `dataset` to a training config, by overriding a base recipe.

    model: {name: resnet_cam, input_shape: [3, 160, 160], num_classes: 10, residual: true}
    training: {learning_rate: 0.001, batch_size: 64, num_epochs: 50, weight_decay: 0.0001, checkpoint_dir: checkpoints/,
               log_every: 10, save_every: 2, early_stopping_patience: 5, optimizer: adam, scheduler: reduce_lr}
    dataset: {name: imagenette, data_dir: data/, img_size: 160, val_size: 1000}

A key that is left out keeps the value of the recipe.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config, ConfigDict

from camtool.config.loading import LoadedConfig, load_config, merge_options
from camtool.config.shipped import scoped_file, shipped_file, shipped_root
from camtool.errors import ConfigError, closest

_SUFFIXES = (".yaml", ".yml")
RECIPE = shipped_root() / "resnet_cam/resnet18_cam_imagenette-160px.py"
PLATEAU = {"type": "ReduceOnPlateauLR", "monitor": "cross_entropy/mean", "rule": "less", "factor": 0.5, "patience": 3, "min_value": 1e-6}
LOSS = {"type": "camtool.ValidationLoss"}
"""The evaluator that reports the metric PLATEAU monitors."""
MOMENTUM = 0.9

_WHOLE, _POSITIVE = "a whole number of at least 1", "a number above 0"
_RESIDUAL = "true: the network is a ResNet"
_EXPECTED: dict[str, dict[str, str]] = {
    "model": {
        "name": "resnet_cam",
        "input_shape": "[3, height, width], height equal to width",
        "num_classes": _WHOLE,
        "residual": _RESIDUAL,
    },
    "training": {
        "learning_rate": _POSITIVE,
        "batch_size": _WHOLE,
        "num_epochs": _WHOLE,
        "weight_decay": "a number of at least 0",
        "checkpoint_dir": "a folder",
        "log_every": _WHOLE,
        "save_every": _WHOLE,
        "early_stopping_patience": _WHOLE,
        "optimizer": "adam or sgd",
        "scheduler": "reduce_lr or cosine",
    },
    "dataset": {"name": "imagenette", "data_dir": "a folder", "img_size": _WHOLE, "val_size": _WHOLE},
}
_FITS: dict[str, Any] = {
    _WHOLE: lambda value: type(value) is int and value >= 1,
    _POSITIVE: lambda value: type(value) in (int, float) and 0 < value < math.inf,
    "a number of at least 0": lambda value: type(value) in (int, float) and 0 <= value < math.inf,
    "a folder": lambda value: isinstance(value, str) and bool(value),
    _RESIDUAL: lambda value: value is True,
    "adam or sgd": lambda value: value in ("adam", "sgd"),
    "reduce_lr or cosine": lambda value: value in ("reduce_lr", "cosine"),
    "resnet_cam": lambda value: value == "resnet_cam",
    "imagenette": lambda value: value == "imagenette",
    "[3, height, width], height equal to width": lambda value: (
        isinstance(value, list) and len(value) == 3 and value[0] == 3 and type(value[1]) is int and value[1] == value[2] >= 1
    ),
}


def load_either(source: str, options: Mapping[str, Any] | None = None, also_known: Iterable[str] = ()) -> LoadedConfig:
    """Return the config that `source` names, as `load_config` does; a short YAML file is translated to a training config.

    Raises:
        ConfigError: as `load_config` and `translated` do.
    """
    path = scoped_file(source) if "::" in source else shipped_file(source) or Path(source)
    if path.suffix not in _SUFFIXES or _is_openmmlabs(_content(path)):
        return load_config(source, options, also_known)
    config = translated(path)
    merge_options(config, options or {}, source, also_known)
    return LoadedConfig(config, source)


def translated(path: Path, recipe: Path = RECIPE) -> Config:
    """Return the training config of a short YAML file: `recipe` with the file's values.

    Raises:
        ConfigError: if the file does not exist, is not YAML, or has an unknown key or an invalid value.
    """
    parts = _read(path)
    if not recipe.is_file():
        raise ConfigError(f"Config '{path}' needs the base recipe '{recipe}', which does not exist; reinstall camtool.")
    config = load_config(str(recipe)).config
    _set_model(config, parts["model"])
    _set_data(config, parts, path)
    _set_training(config, parts["training"])
    # The work directory and the copy of the config in it are named after this file name.
    return Config(config.to_dict(), cfg_text=f"# {path.name}, translated\n", filename=str(path.with_suffix(".py")))


def _content(path: Path) -> Mapping[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"No config '{path}'; expected a YAML file with {', '.join(_EXPECTED)}.") from error
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"Cannot read config '{path}': {error}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Config '{path}' is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"Config '{path}' holds {type(content).__name__}; expected {', '.join(_EXPECTED)}.")
    return content


def _is_openmmlabs(content: Mapping[Any, Any]) -> bool:
    model = content.get("model")
    return "_base_" in content or (isinstance(model, Mapping) and "type" in model)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    content = _content(path)
    _check_keys(content, _EXPECTED, f"config '{path}'")
    parts = {}
    for name, expected in _EXPECTED.items():
        part = content.get(name)
        part = {} if part is None else part
        if not isinstance(part, Mapping):
            raise ConfigError(f"'{name}' of config '{path}' is {part!r}; expected {', '.join(expected)}.")
        _check_keys(part, expected, f"'{name}' of config '{path}'")
        for key, value in part.items():
            if not _FITS[expected[key]](_as_number(value, expected[key])):
                raise ConfigError(f"'{name}.{key}' of config '{path}' is {value!r}; expected {expected[key]}.")
        parts[name] = {key: _as_number(value, expected[key]) for key, value in part.items()}
    return parts


def _check_keys(part: Mapping[Any, Any], known: Mapping[str, Any], where: str) -> None:
    for key in part:
        if key not in known:
            raise ConfigError(f"{where[0].upper()}{where[1:]} has no key '{key}'{closest(str(key), known)}; expected {', '.join(known)}.")


def _as_number(value: Any, expected: str) -> Any:
    """Return `value`, converted to float if it is text like "1e-4", which YAML 1.1 does not read as a number."""
    if isinstance(value, str) and expected.startswith("a number"):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _set_model(config: Config, model: Mapping[str, Any]) -> None:
    if "num_classes" in model:
        config.model.num_classes = model["num_classes"]
        for preprocessor in (config.get("data_preprocessor"), config.model.get("data_preprocessor")):
            if preprocessor and "num_classes" in preprocessor:
                preprocessor.num_classes = model["num_classes"]


def _set_data(config: Config, parts: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    dataset, shape = parts["dataset"], parts["model"].get("input_shape")
    size = dataset.get("img_size", shape[1] if shape else None)
    if shape and shape[1] != size:
        raise ConfigError(f"Config '{path}': model.input_shape {shape} and dataset.img_size {size} differ.")
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if not config.get(name):
            continue
        dataset_config = config[name].dataset
        if "data_dir" in dataset:
            dataset_config.data_root = dataset["data_dir"]
        if "val_size" in dataset and name != "train_dataloader":
            dataset_config.indices = dataset["val_size"]
        if size:
            _resize(dataset_config.pipeline, size)
        if "batch_size" in parts["training"]:
            config[name].batch_size = parts["training"]["batch_size"]
    if size and config.get("test_pipeline"):
        _resize(config.test_pipeline, size)


def _resize(pipeline: Sequence[ConfigDict], size: int) -> None:
    """Set the output size of a pipeline; a resize before a crop keeps its ratio to the crop."""
    crops = [step["crop_size"] for step in pipeline if "crop_size" in step]
    for step in pipeline:
        kind = str(step.get("type"))
        if "crop_size" in step:
            step["crop_size"] = size
        elif "RandomResizedCrop" in kind or ("Resize" in kind and not crops):
            step["scale"] = size
        elif "Resize" in kind:
            crop = crops[0] if isinstance(crops[0], int) else crops[0][0]
            scale = step["scale"] if isinstance(step["scale"], int) else step["scale"][0]
            step["scale"] = round(scale * size / crop)


def _set_training(config: Config, training: Mapping[str, Any]) -> None:
    optimizer = config.optim_wrapper.optimizer
    kind = training.get("optimizer")
    if kind is not None:
        kept = {key: optimizer[key] for key in ("lr", "weight_decay") if key in optimizer}
        own = {"type": "Adam"} if kind == "adam" else {"type": "SGD", "momentum": MOMENTUM}
        optimizer = config.optim_wrapper.optimizer = ConfigDict(**own, **kept)
    if "learning_rate" in training:
        optimizer.lr = training["learning_rate"]
    if "weight_decay" in training:
        optimizer.weight_decay = training["weight_decay"]
    if "num_epochs" in training:
        config.train_cfg.max_epochs = training["num_epochs"]
    _set_scheduler(config, training.get("scheduler"))
    if "checkpoint_dir" in training:
        config.work_dir = training["checkpoint_dir"]
    hooks = config.setdefault("default_hooks", ConfigDict())
    if "log_every" in training:
        hooks.setdefault("logger", ConfigDict(type="LoggerHook")).interval = training["log_every"]
    if "save_every" in training:
        hooks.setdefault("checkpoint", ConfigDict(type="camtool.CheckpointHook")).interval = training["save_every"]
    if "early_stopping_patience" in training:
        others = [hook for hook in config.get("custom_hooks") or [] if "EarlyStopping" not in str(hook.get("type"))]
        stopping = [hook for hook in config.get("custom_hooks") or [] if "EarlyStopping" in str(hook.get("type"))]
        hook = ConfigDict(stopping[0] if stopping else {"type": "camtool.EarlyStoppingHook"}, patience=training["early_stopping_patience"])
        config.custom_hooks = [*others, hook]


def _set_scheduler(config: Config, kind: str | None) -> None:
    if kind == "reduce_lr":
        config.param_scheduler = [ConfigDict(PLATEAU)]
        evaluators = config.get("val_evaluator") or []
        evaluators = [evaluators] if isinstance(evaluators, dict) else list(evaluators)
        if not any(str(evaluator.get("type")) == LOSS["type"] for evaluator in evaluators):
            config.val_evaluator = [*evaluators, ConfigDict(LOSS)]
    elif kind == "cosine":
        config.param_scheduler = [ConfigDict(type="CosineAnnealingLR")]
    schedulers: Any = config.get("param_scheduler") or []
    listed: list[Any] = [schedulers] if isinstance(schedulers, dict) else schedulers
    for scheduler in listed:
        if scheduler.get("type") == "CosineAnnealingLR":
            scheduler.T_max, scheduler.by_epoch = config.train_cfg.max_epochs, True
