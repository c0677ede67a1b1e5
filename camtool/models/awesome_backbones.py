"""Configs of Awesome-Backbones (github.com/Fafa-DL/Awesome-Backbones) to mmpretrain's: mmcls 0.x in other keys.

`model_cfg` is the network, `val_pipeline` the preprocessing with the normalisation in it, `data_cfg['test']['ckpt']` the weights.
What mmpretrain 1.x calls or orders otherwise is translated; the rest is named, all of it in one error.
"""

import copy
import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from camtool.errors import ConfigError, closest

ANNOTATIONS = "datas/annotations.txt"
"""Where their tools read the class names, seen from the working directory."""

_PART_TYPES = {"BEiT": "BEiTViT"}  # mmpretrain's BEiT is the pre-training around that backbone
_TRAINING_ONLY = ("loss", "topk", "cal_acc")
_PARTS = ("backbone", "neck", "head")
_MMPRETRAIN_KEYS = ("load_from", "data_preprocessor", "test_dataloader", "cam", "custom_imports")

# Their defaults, by which one of the two arguments that 1.x made into `out_type` is read where only the other is given.
_GIVES_CLASS_TOKEN = {"BEiTViT": False, "RevVisionTransformer": False}


def is_awesome_backbones(config: Config) -> bool:
    """Return whether a config is of that form: it has a `model_cfg` and no `model`."""
    return "model_cfg" in config and "model" not in config


def to_mmpretrain(config: Config, source: str) -> Config:
    """Return the ordinary config with `model`, `data_preprocessor`, `test_pipeline`, and `load_from` and class names where it has them.

    Keys of mmpretrain that `config` has beside its own (`cam`, `load_from`, …) are merged over what was translated.

    Raises:
        ConfigError: naming all that has no counterpart in mmpretrain, each with the nearest that has.
    """
    problems: list[str] = []
    model = _model(config.get("model_cfg"), problems)
    pipeline, normalisation = _pipeline(config.get("val_pipeline"), problems)
    test = _mapping(_mapping(config.get("data_cfg"), "data_cfg", problems).get("test"), "data_cfg.test", problems)
    names = _class_names(test.get("classes") or ANNOTATIONS, problems)
    if problems:
        raise ConfigError(
            f"Config '{source}', in the form of Awesome-Backbones, cannot be translated to mmpretrain: "
            f"{'; '.join(problems)}. Write these otherwise, or give a config with 'model'."
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
            "load_from": test.get("ckpt") or None,
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
        if key in _PARTS:
            model[key] = [_part(one, key, problems) for one in value] if isinstance(value, (list, tuple)) else _part(value, key, problems)
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
    kind = registry.get(name)
    if kind is None:
        room = f"mmpretrain.models.{role}s"
        known = [known for known, its_class in registry.module_dict.items() if its_class.__module__.startswith(room)]
        problems.append(f"unknown {role} '{part['type']}'{closest(part['type'], known)}")
        return None
    arguments = {key: copy.deepcopy(value) for key, value in part.items() if key not in ("type", *_TRAINING_ONLY)}
    accepted = _arguments_of(kind)
    if "out_type" in accepted:
        arguments = _with_out_type(arguments, gives_class_token=_GIVES_CLASS_TOKEN.get(name, True))
    problems.extend(
        f"{role} {name} has no argument '{argument}'{closest(argument, accepted)}" for argument in arguments if argument not in accepted
    )
    return {"type": name, **arguments}


def _networks() -> Any:
    """Return the registry of mmpretrain's networks, filled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmcv-lite remarks on what it leaves out
        import mmpretrain.models  # noqa: F401 - registers the networks
        from mmpretrain.registry import MODELS
    return MODELS


def _arguments_of(kind: Any) -> set[str]:
    """Return the names that a class takes, through the classes to which it passes `**kwargs` on."""
    names: set[str] = set()
    for base in inspect.getmro(kind):
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names.update(one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))
        if not any(one.kind == one.VAR_KEYWORD for one in parameters):
            break
    return names - {"self"}


def _with_out_type(arguments: dict[str, Any], *, gives_class_token: bool) -> dict[str, Any]:
    if not {"output_cls_token", "avg_token"} & arguments.keys():
        return arguments
    rest = {key: value for key, value in arguments.items() if key not in ("output_cls_token", "avg_token")}
    if arguments.get("output_cls_token", gives_class_token):
        return {**rest, "out_type": "cls_token"}
    return {**rest, "out_type": "avg_featmap" if arguments.get("avg_token", not gives_class_token) else "featmap"}


def _pipeline(steps: Any, problems: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return (mmpretrain's test pipeline, the data preprocessor that Normalize became)."""
    if not isinstance(steps, (list, tuple)) or not all(isinstance(step, Mapping) and isinstance(step.get("type"), str) for step in steps):
        problems.append(f"'val_pipeline' must be a list of dicts such as dict(type='LoadImageFromFile'), got {steps!r}")
        return [], {}
    if any(step["type"] == "ToTensor" and "keys" not in step for step in steps):
        problems.append("'val_pipeline' has torchvision's transforms, as their first configs; expected mmcls's, as in their later ones")
        return [], {}
    pipeline: list[dict[str, Any]] = []
    normalisations: list[dict[str, Any]] = []
    for step in steps:
        translated = _step(dict(step), problems)
        if translated is None:
            continue
        if step["type"] == "Normalize":
            normalisations.append(translated)
            continue
        if normalisations and translated["type"] != "CenterCrop":
            problems.append(f"{step['type']} after Normalize in val_pipeline; expected all resizing before it")
        pipeline.append(translated)
    count = sum(step["type"] == "Normalize" for step in steps)
    if count != 1:
        problems.append(f"'val_pipeline' must have one Normalize, for mean, std and the order of channels; got {count}")
    if not pipeline or pipeline[0]["type"] != "LoadImageFromFile":
        pipeline.insert(0, _load_image())  # as their tools do
    return [*pipeline, {"type": "PackInputs"}], normalisations[0] if normalisations else {}


def _step(step: dict[str, Any], problems: list[str]) -> dict[str, Any] | None:
    """Return mmpretrain's step, or None for steps that PackInputs stands for."""
    kind = step.pop("type")
    if kind not in _STEPS:
        problems.append(f"unknown step '{kind}' in val_pipeline{closest(kind, _STEPS)}; expected one of {', '.join(_STEPS)}")
        return None
    parameters = inspect.signature(_STEPS[kind]).parameters
    wrong = [f"{kind} has no argument '{key}'{closest(key, parameters)}" for key in step if key not in parameters]
    wrong += [f"{kind} needs '{key}'" for key, one in parameters.items() if one.default is one.empty and key not in step]
    problems.extend(f"{text} in val_pipeline" for text in wrong)
    if wrong:
        return None
    try:
        return _STEPS[kind](**step)
    except ValueError as error:
        problems.append(f"{kind} in val_pipeline: {error}")
        return None


# One function a step, with their arguments and defaults: these differ from mmpretrain's.


def _load_image(*, to_float32: bool = False, color_type: str = "color", file_client_args: Any = None) -> dict[str, Any]:
    if to_float32 is not False:
        raise ValueError(f"to_float32={to_float32!r} is not known here: pictures are resized in whole levels")
    if color_type not in ("color", "grayscale"):
        raise ValueError(f"color_type={color_type!r} is not known here; expected 'color' or 'grayscale'")
    return {"type": "LoadImageFromFile", "color_type": color_type}


def _resize(*, size: Any, interpolation: Any = "bilinear", adaptive_side: Any = "short", backend: Any = "cv2") -> dict[str, Any]:
    height, width = _sides(size, "size")
    if width == -1:
        return {"type": "ResizeEdge", "scale": height, "edge": adaptive_side, "interpolation": interpolation, "backend": backend}
    return {"type": "Resize", "scale": (width, height), "interpolation": interpolation, "backend": backend}


def _center_crop(
    *, crop_size: Any, efficientnet_style: Any = False, crop_padding: Any = 32, interpolation: Any = "bilinear", backend: Any = "cv2"
) -> dict[str, Any]:
    height, width = _sides(crop_size, "crop_size")
    if not efficientnet_style:
        return {"type": "CenterCrop", "crop_size": (width, height)}
    if height != width:
        raise ValueError(f"with efficientnet_style, crop_size must be a whole number, got {crop_size!r}")
    settings = {"crop_size": height, "crop_padding": crop_padding, "interpolation": interpolation, "backend": backend}
    return {"type": "EfficientNetCenterCrop", **settings}


def _sides(size: Any, name: str) -> tuple[int, int]:
    """Return (height, width) of a whole number or a pair of them."""
    pair = (size, size) if isinstance(size, int) else size
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(side, int) for side in pair):
        raise ValueError(f"{name} must be a whole number or (height, width), got {size!r}")
    return pair[0], pair[1]


def _normalize(*, mean: Any, std: Any, to_rgb: bool = True) -> dict[str, Any]:
    for name, values in (("mean", mean), ("std", std)):
        if not isinstance(values, (list, tuple)) or not all(isinstance(value, (int, float)) for value in values):
            raise ValueError(f"{name} must be a list of numbers, one a channel, got {values!r}")
    return {"mean": list(mean), "std": list(std), "to_rgb": to_rgb}


def _to_tensor(*, keys: Any = ()) -> None:
    return None


def _collect(*, keys: Any = (), meta_keys: Any = ()) -> None:
    return None


_STEPS: dict[str, Callable[..., dict[str, Any] | None]] = {
    "LoadImageFromFile": _load_image,
    "Resize": _resize,
    "CenterCrop": _center_crop,
    "Normalize": _normalize,
    "ImageToTensor": _to_tensor,
    "ToTensor": _to_tensor,
    "Collect": _collect,
}


def _class_names(source: Any, problems: list[str]) -> list[str] | None:
    """Return the names of a list, or of a file of "name index" lines; None if there is no such file."""
    if isinstance(source, (list, tuple)):
        return [str(name) for name in source]
    if not os.path.isfile(str(source)):
        return None
    try:
        lines = [line for line in Path(source).read_text(encoding="utf-8").splitlines() if line.strip()]
        pairs = [line.strip().rsplit(maxsplit=1) for line in lines]
        names = {int(index): name.strip('"') for name, index in pairs}
        return [names[index] for index in range(len(lines))]
    except (OSError, ValueError, KeyError) as error:
        problems.append(f"'{source}' must name each class once, in lines of 'name index' from index 0: {error}")
        return None
