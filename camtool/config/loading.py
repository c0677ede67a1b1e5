"""Load a config, named by a path, `mmpretrain::…`, `timm/NAME` or a known name, as a checked mmengine Config."""

import ast
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from camtool.config.awesome_backbones import in_their_words, is_awesome_backbones, to_mmpretrain
from camtool.config.names import find_named, zoo_models
from camtool.config.repairs import repaired_reading
from camtool.config.shipped import SUFFIXES, is_name, scoped_file, shipped_file
from camtool.errors import ConfigError, closest

CAM_KEYS = (
    "method",
    "target_layers",
    "layout",
    "input_axes",
    "call",
    "output",
    "target",
    "aug_smooth",
    "eigen_smooth",
    "fuse",
    "speed",
    "placement",
    "checkpoint_keys",
    "checkpoint_key",
    "window",
    "overlap",
    "windows_at_once",
    "by_channel",
)
"""Keys that the `cam` dict of a config may have."""

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "method": ((str, Mapping), "a name, a dict with 'type', or a list of these"),
    "target_layers": ((str,), "a layer path or a list of these"),
    "layout": ((str, Mapping), "a name or a dict with 'type'"),
    "input_axes": ((str,), "letters such as 'ntchw'"),
    "call": ((int, Mapping), "the number of a layer's call, or a dict of these by layer path"),
    "output": ((str, int), "the name or position of one of the network's outputs"),
    "target": ((str, Mapping), "a name or a dict with 'type'"),
    "fuse": ((str, Mapping), "a name or a dict with 'type'"),
    "speed": ((Mapping,), "a dict such as dict(fold=True)"),
    "window": ((int, list, tuple), "a number of positions, or one for each axis"),
    "overlap": ((int, float), "a share of the window, 0 to 0.9"),
    "windows_at_once": ((int,), "a number of windows that share a pass"),
    "checkpoint_key": ((str,), "a name in the checkpoint, such as 'state_dict_ema'"),
    "placement": ((str, Mapping), "'even', 'measured', or a dict such as dict(scale=(32, 32), offset=(0, 0))"),
}

_SHORT_FOR = {"timm": "camtool.TimmModel", "torchvision": "camtool.TorchvisionModel", "hf": "camtool.HuggingFaceModel"}
"""PREFIX/NAME in place of a config means `model=dict(type=…, name=NAME)`."""

_OTHERS = "'mmpretrain::family/name.py', 'timm/NAME', 'torchvision/NAME', 'hf/NAME'"


@dataclass(frozen=True)
class LoadedConfig:
    """A checked config and what it was called.

    Example:
        >>> loaded = load_config("timm/resnet18", {"cam.method": "layercam"})
        >>> loaded.name, loaded.config.model.name, loaded.cam
        ('timm/resnet18', 'resnet18', {'method': 'layercam'})
    """

    config: Config
    name: str
    """Path or name that it was loaded by, for messages and relative paths."""
    zoo_weights: str | None = None
    """Address of the weights published with a known name, camtool's or the zoo's; None for other configs."""

    @property
    def cam(self) -> dict[str, Any]:
        """The config's `cam` dict, {} if it has none."""
        return dict(self.config.get("cam") or {})


def load_config(source: str, options: Mapping[str, Any] | None = None, also_known: Iterable[str] = ()) -> LoadedConfig:
    """Return the config that `source` names: a file, `mmpretrain::…`, `timm/NAME`, … or a name of camtool's own configs or of the zoo.

    `options` (`{"model.head.num_classes": 10}`) are merged in; they may set a key that the config lacks if it is one of `also_known`.

    Raises:
        ConfigError: if there is none, it cannot be read, it has no `model`, or a key of `cam` or of `options` is misspelt.

    Example:
        >>> load_config("timm/resnet18").config.model.type
        'camtool.TimmModel'
    """
    config, zoo_weights = _of_short_name(source), None
    if config is None:
        path, zoo_weights = _locate(source)
        config = _read(path, source)
        zoo_weights = config.get("load_from") if path == shipped_file(source) else zoo_weights
    options = in_their_words(options or {}) if is_awesome_backbones(config) else options or {}
    merge_options(config, options, source, also_known)
    if is_awesome_backbones(config):
        config = to_mmpretrain(config, source)
    if not isinstance(config.get("model"), Mapping):
        raise ConfigError(f"Config '{source}' has no 'model'; expected an OpenMMLab config of a classifier.")
    _check_cam(config, source)
    return LoadedConfig(config, source, zoo_weights)


def is_config(text: str) -> bool:
    """Return whether an argument of the command line is a config: a file of one, `source/name`, or a known name."""
    if os.path.isfile(text):
        return Path(text).suffix.lower() in SUFFIXES
    if "::" in text or _of_short_name(text) is not None:
        return True
    return is_name(text) and (shipped_file(text) is not None or text.casefold() in map(str.casefold, zoo_models()))


def merge_options(config: Config, options: Mapping[str, Any], source: str, also_known: Iterable[str] = ()) -> None:
    """Merge overrides (`--cfg-options`) into the config, in place.

    Raises:
        ConfigError: if a key is misspelt or a value does not fit.
    """
    _check_options(config, options, also_known)
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise ConfigError(f"Cannot apply --cfg-options to '{source}': {_text(error)}.") from error


def _of_short_name(source: str) -> Config | None:
    prefix, _, name = source.partition("/")
    if os.path.isfile(os.path.join(source, "config.json")) and (prefix != "hf" or not os.path.isdir(name)):
        return Config({"model": {"type": _SHORT_FOR["hf"], "name": source}})  # a folder that transformers saved
    if prefix not in _SHORT_FOR or not name or os.path.isfile(source) or (source.endswith(".py") and prefix != "hf"):
        return None
    return Config({"model": {"type": _SHORT_FOR[prefix], "name": name}})


def _locate(source: str) -> tuple[Path, str | None]:
    path = Path(source)
    if not source.strip():
        raise ConfigError(f"Expected a config, got {source!r}.")
    if "::" in source:
        return scoped_file(source), None
    if os.path.isfile(path):  # of os.path: False, not an exception, for names that are too long and folders that are closed
        return path, None
    if os.path.isdir(path) and shipped_file(source) is None:
        raise ConfigError(f"Config '{source}' is a directory; expected a .py file in it{_near(path / 'x.py')}.")
    if path.suffix in SUFFIXES or "/" in source:
        raise ConfigError(
            f"No config '{source}'{_near(path)}; expected a file, {_OTHERS} or a name that 'camtool models' lists.{_without_folder(path)}"
        )
    return find_named(source)


def _without_folder(path: Path) -> str:
    shipped = shipped_file(path.stem)
    return f" '{shipped.stem}' comes with camtool: its name alone is enough." if shipped else ""


def _near(path: Path) -> str:
    folder = path.parent
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    # A few hundred names at most: a wrong path may stand in a home directory.
    found = [str(found) for pattern in ("*.py", "*/*.py") for found, _ in zip(folder.glob(pattern), range(500), strict=False)]
    return closest(str(path), found)


def _read(path: Path, source: str) -> Config:
    try:
        with repaired_reading():
            return Config.fromfile(path)
    except SyntaxError as error:
        owner = "a _base_ file of config" if _is_python(path) else "config"
        where = f", line {error.lineno}" if error.lineno else ""
        raise ConfigError(f"Syntax error in {owner} '{source}'{where}: {error.msg}.") from error
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # a config is Python and may raise anything
        raise ConfigError(f"Cannot read config '{source}': {type(error).__name__}: {_text(error).rstrip('.')}.") from error


def _is_python(path: Path) -> bool:
    try:
        ast.parse(path.read_bytes())
    except SyntaxError:
        return False
    return True


def _check_options(config: Config, options: Mapping[str, Any], also_known: Iterable[str]) -> None:
    known = {*config.keys(), *also_known, "cam", "input", "load_from", "data_preprocessor", "test_pipeline"}
    for option in options:
        top = option.split(".")[0]
        if top not in known:
            raise ConfigError(f"--cfg-options {option}: the config has no '{top}'{closest(top, known)}.")


def _check_cam(config: Config, source: str) -> None:
    cam = config.get("cam")
    if cam is None:
        return
    if not isinstance(cam, Mapping):
        raise ConfigError(f"'cam' of config '{source}' must be a dict, got {type(cam).__name__}.")
    for key in cam:
        if key not in CAM_KEYS:
            raise ConfigError(f"'cam' of config '{source}' has no key '{key}'{closest(key, CAM_KEYS)}; expected {', '.join(CAM_KEYS)}.")
    for key, (kinds, expected) in _KINDS.items():
        values = cam.get(key)
        several = isinstance(values, (list, tuple)) and key in ("method", "target_layers")
        if values is not None and not all(isinstance(value, kinds) for value in (values if several else [values])):
            raise ConfigError(f"'cam.{key}' of config '{source}' must be {expected}, got {values!r}.")
    for key in ("aug_smooth", "eigen_smooth", "by_channel"):
        if not isinstance(cam.get(key, False), bool):
            raise ConfigError(f"'cam.{key}' of config '{source}' must be True or False, got {cam[key]!r}.")


def find_test_pipeline(config: Config) -> list[dict[str, Any]]:
    """Return the transforms of the config's test pipeline.

    Raises:
        ConfigError: if it has none, or they are not dicts.
    """
    dataset = find_test_dataset(config)
    pipeline = dataset.get("pipeline") if dataset else None
    pipeline = pipeline or config.get("test_pipeline")
    if not pipeline:
        raise ConfigError(
            "The config has no test pipeline; expected 'test_dataloader.dataset.pipeline' or 'test_pipeline', "
            "a list of transforms such as dict(type='LoadImageFromFile')."
        )
    if not isinstance(pipeline, (list, tuple)) or not all(isinstance(step, Mapping) for step in pipeline):
        raise ConfigError(f"The config's test pipeline must be a list of dicts such as dict(type='LoadImageFromFile'), got {pipeline!r}.")
    return [dict(step) for step in pipeline]


def find_test_dataset(config: Config) -> ConfigDict | None:
    """Return the config of the test data set, the inner one if data sets are nested; None if there is none."""
    for loader in ("test_dataloader", "val_dataloader"):
        dataset = as_mapping(config.get(loader), loader).get("dataset")
        while isinstance(dataset, Mapping) and dataset.get("pipeline") is None and isinstance(dataset.get("dataset"), Mapping):
            dataset = dataset["dataset"]
        if dataset:
            as_mapping(dataset, f"{loader}.dataset")
            return dataset
    return None


def _text(error: BaseException) -> str:
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(message.split())[:400] or type(error).__name__


def as_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return `value`, {} for None; ConfigError if it is not a dict. `name` is its key, for the message."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"'{name}' of the config must be a dict, got {value!r}.")
    return value or {}
