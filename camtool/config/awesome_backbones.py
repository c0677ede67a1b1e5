"""Translate configs of Awesome-Backbones (github.com/Fafa-DL/Awesome-Backbones), mmcls 0.x under other keys, to mmpretrain 1.x.

`model_cfg` is the network, `val_pipeline` the preprocessing with the normalisation in it, `data_cfg['test']['ckpt']` the weights.
All keys and values without a counterpart in mmpretrain are listed in one error.
"""

import copy
import inspect
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from camtool.config.awesome_backbones_pipeline import translate_pipeline
from camtool.errors import ConfigError, closest

ANNOTATIONS = "datas/annotations.txt"
"""Path, relative to the working directory, from which Awesome-Backbones reads the class names."""

_PART_TYPES = {"BEiT": "BEiTViT"}  # mmpretrain's BEiT is the self-supervised model that contains this backbone
_TRAINING_ONLY = ("loss", "topk", "cal_acc")  # arguments of heads
_PARTS = ("backbone", "neck", "head")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_MMPRETRAIN_KEYS = ("load_from", "data_preprocessor", "test_dataloader", "cam", "custom_imports")

# Default of `output_cls_token`: mmpretrain 1.x has `out_type` in place of `output_cls_token` and `avg_token`, of which one may be left out.
_GIVES_CLASS_TOKEN = {"BEiTViT": False, "RevVisionTransformer": False}


def is_awesome_backbones(config: Config) -> bool:
    """Return whether a config is of Awesome-Backbones: it has a `model_cfg` and no `model`."""
    return "model_cfg" in config and "model" not in config


def in_their_words(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `--cfg-options` with `model.…` renamed to `model_cfg.…`, so that hints in other messages hold for this form, too."""
    return {f"model_cfg{key.removeprefix('model')}" if key.split(".")[0] == "model" else key: value for key, value in options.items()}


def to_mmpretrain(config: Config, source: str) -> Config:
    """Return the config as mmpretrain's: `model`, `data_preprocessor`, `test_pipeline`, and `load_from` and class names if given.

    Keys of mmpretrain that `config` has as well (`cam`, `load_from`, …) override the translation.

    Args:
        source: the config's name in messages.

    Raises:
        ConfigError: listing every key and value without a counterpart in mmpretrain, with the closest known names.
    """
    problems: list[str] = []
    model = _model(config.get("model_cfg"), problems)
    pipeline, normalisation = translate_pipeline(config.get("val_pipeline"), problems)
    test = _mapping(_mapping(config.get("data_cfg"), "data_cfg", problems).get("test"), "data_cfg.test", problems)
    names = _class_names(test.get("classes") or ANNOTATIONS, problems)
    if not isinstance(test.get("ckpt") or "", str):
        problems.append(f"'data_cfg.test.ckpt' must be a path, got {test['ckpt']!r}")
    if problems:
        raise ConfigError(
            f"Config '{source}' of Awesome-Backbones cannot be translated to mmpretrain: "
            f"{'; '.join(problems)}. Change these, or give a config with 'model'."
        )
    dataset: dict[str, Any] = {"type": "CustomDataset", "pipeline": pipeline}
    if names:
        dataset["metainfo"] = {"classes": names}
    translated = Config(
        {
            "model": model,
            "data_preprocessor": normalisation,
            "test_pipeline": pipeline,
            "test_dataloader": {"dataset": dataset},
            "load_from": test.get("ckpt"),
        }
    )
    translated.merge_from_dict({key: config[key] for key in _MMPRETRAIN_KEYS if key in config})
    return translated


def _mapping(value: Any, name: str, problems: list[str]) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        problems.append(f"'{name}' must be a dict, got {value!r}")
        return {}
    return value or {}


def _model(network: Any, problems: list[str]) -> dict[str, Any]:
    if not isinstance(network, Mapping):
        problems.append(f"'model_cfg' must be a dict with backbone, neck and head, got {network!r}")
        return {}
    model: dict[str, Any] = {"type": "ImageClassifier"}
    for key, value in network.items():
        if key == "neck" and isinstance(value, (list, tuple)):
            model[key] = [_part(part, key, problems) for part in value]
        elif key in _PARTS:
            model[key] = _part(value, key, problems)
        elif key == "init_cfg":
            model[key] = copy.deepcopy(value)
        elif key != "type":
            problems.append(f"'model_cfg' has a key '{key}'{closest(key, _PARTS)}; expected {', '.join(_PARTS)}")
        elif value != "ImageClassifier":
            problems.append(f"model_cfg.type must be 'ImageClassifier', got {value!r}")
    problems.extend(f"'model_cfg' has no {key}" for key in ("backbone", "head") if not network.get(key))
    return model


def _part(part: Any, role: str, problems: list[str]) -> dict[str, Any] | None:
    if part is None:
        return None
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        problems.append(f"model_cfg.{role} must be a dict with 'type', got {part!r}")
        return None
    name: str = _PART_TYPES.get(part["type"]) or part["type"]
    registry = _networks()
    network_class = registry.get(name)
    if network_class is None:
        package = f"mmpretrain.models.{role}s"
        known = [known for known, registered in registry.module_dict.items() if registered.__module__.startswith(package)]
        problems.append(f"unknown {role} '{part['type']}'{closest(part['type'], known)}")
        return None
    left_out = ("type", *_TRAINING_ONLY) if role == "head" else ("type",)
    arguments = {key: copy.deepcopy(value) for key, value in part.items() if key not in left_out}
    accepted = _arguments_of(network_class)
    if "out_type" in accepted:
        arguments = _with_out_type(arguments, gives_class_token=_GIVES_CLASS_TOKEN.get(name, True))
    problems.extend(
        f"{role} {name} has no argument '{argument}'{closest(argument, accepted)}" for argument in arguments if argument not in accepted
    )
    return {"type": name, **arguments}


def _networks() -> Any:
    """Return mmpretrain's registry of models after all of them are registered."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmcv-lite warns about the operators it lacks
        import mmpretrain.models  # noqa: F401 - registers the networks
        from mmpretrain.registry import MODELS
    return MODELS


def _arguments_of(network_class: Any) -> set[str]:
    """Return the names of a constructor's arguments, with those of its base classes as far as `**kwargs` are passed on."""
    names: set[str] = set()
    for base in inspect.getmro(network_class):
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names.update(parameter.name for parameter in parameters if parameter.kind in _NAMED)
        if not any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names - {"self"}


def _with_out_type(arguments: dict[str, Any], *, gives_class_token: bool) -> dict[str, Any]:
    if not {"output_cls_token", "avg_token"} & arguments.keys():
        return arguments
    rest = {key: value for key, value in arguments.items() if key not in ("output_cls_token", "avg_token")}
    if arguments.get("output_cls_token", gives_class_token):
        return {**rest, "out_type": "cls_token"}
    return {**rest, "out_type": "avg_featmap" if arguments.get("avg_token", not gives_class_token) else "featmap"}


def _class_names(names_or_path: Any, problems: list[str]) -> list[str] | None:
    """Return class names from a list, or from a file of "name index" lines; None if there is no such file."""
    if isinstance(names_or_path, (list, tuple)):
        return [str(name) for name in names_or_path]
    if not os.path.isfile(str(names_or_path)):
        return None
    try:
        lines = [line for line in Path(names_or_path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        pairs = [line.strip().rsplit(maxsplit=1) for line in lines]
        names = {int(index): name.strip('"') for name, index in pairs}
        return [names[index] for index in range(len(lines))]
    except (OSError, ValueError, KeyError) as error:
        problems.append(f"'{names_or_path}' must name each class once, in lines of 'name index' from index 0: {error}")
        return None
