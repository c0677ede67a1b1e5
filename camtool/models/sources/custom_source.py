"""Your own network: `model=dict(type='camtool.TorchModel', factory='my_package.my_module:build', …)`."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camtool.config.loading import LoadedConfig
from camtool.errors import ConfigError, closest
from camtool.models.checkpoints import Checkpoint
from camtool.models.sources._base import Preprocess, Source
from camtool.models.sources.preprocessing import described, of_pil

KEYS = ("type", "factory", "kwargs", "with_weights", "preprocess", "inputs", "classes", "multi_label")
"""What `model` may hold."""

FACTORY = "the factory's own weights"

PICTURE = "picture"
"""In `inputs`: where the picture's tensor goes."""


class TorchModel(Source):
    """Any nn.Module that a function or class of yours returns.

    `factory` is `package.module:name` or `path/to/file.py:name`, called with `kwargs`. `preprocess` is a dict
    (`resize`, `crop`, `mean`, `std`, `color`, `interpolation`), or another `module:name`, from a PIL image to a tensor.
    `with_weights=True` says that the factory brings its weights along, so that no checkpoint is needed.
    `inputs`, for a network with several: a list (by position) or dict (by keyword) with 'picture' in its place; other values are
    numbers, lists of numbers, or .npy files.
    """

    def __init__(self, loaded: LoadedConfig) -> None:
        super().__init__(loaded)
        for key in self.options:
            if key not in KEYS:
                raise ConfigError(f"'model' of '{loaded.name}' has no key '{key}'{closest(key, KEYS)}; expected {', '.join(KEYS)}.")
        if not isinstance(self.options.get("kwargs", {}), Mapping):
            raise ConfigError(f"'model.kwargs' of '{loaded.name}' must be a dict, got {self.options['kwargs']!r}.")
        self._folders = [Path.cwd(), Path(loaded.name).absolute().parent]
        self.published = FACTORY if self.options.get("with_weights") else None
        self._inputs = self._read_inputs(self.options.get("inputs", [PICTURE]))

    def build(self) -> nn.Module:
        factory = self._find("factory")
        with _importable(self._folders):
            return self.constructed(lambda: factory(**self.options.get("kwargs", {})))

    def read(self, weights: str) -> Checkpoint:
        return Checkpoint({}, {}, weights, None) if weights == FACTORY else super().read(weights)

    def convert(self, model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return state or model.state_dict()

    def preprocessing(self, model: nn.Module) -> Preprocess:
        spec = self.options.get("preprocess")
        if isinstance(spec, str):
            return of_pil(self._find("preprocess"))
        if not isinstance(spec, Mapping):
            raise ConfigError(
                f"'model' of '{self.loaded.name}' needs 'preprocess', such as dict(resize=256, crop=224, mean=[0.485, 0.456, 0.406], "
                f"std=[0.229, 0.224, 0.225]) or 'module:function', got {spec!r}."
            )
        return described(spec)

    def inputs(self, picture: Tensor) -> Any:
        return _filled(self._inputs, picture)

    @property
    def picture_input(self) -> tuple[str | int, ...] | None:
        return _places(self._inputs)[0] or None

    def _read_inputs(self, given: Any) -> Any:
        if not isinstance(given, (list, tuple, dict)):
            raise ConfigError(f"'model.inputs' must be a list or a dict with '{PICTURE}' in it, got {given!r}.")
        template = self._template(given)
        if len(_places(template)) != 1:
            raise ConfigError(f"'model.inputs' must have '{PICTURE}' in one place, got {given!r}.")
        alone = isinstance(template, tuple) and len(template) == 1
        return template[0] if alone and not isinstance(template[0], dict) else template

    def _template(self, given: Any, depth: int = 0) -> Any:
        """Return `given` with tensors for numbers, and None for the picture."""
        if given == PICTURE:
            return None
        if isinstance(given, dict):
            return {key: self._template(value, depth + 1) for key, value in given.items()}
        if isinstance(given, (list, tuple)) and (depth == 0 or not _is_numbers(given)):
            return tuple(self._template(value, depth + 1) for value in given)
        try:
            if isinstance(given, str):
                values = torch.from_numpy(np.load(self._path(given), allow_pickle=False))
                return values.float() if values.is_floating_point() else values  # numpy's default is float64, a network's float32
            return torch.tensor(given)
        except Exception as error:  # of numpy, of zip files, of the system
            raise ConfigError(
                f"'model.inputs': expected '{PICTURE}', numbers, lists of numbers or a .npy file, got {given!r} ({error})."
            ) from error

    def _path(self, name: str) -> Path:
        found = [folder / name for folder in self._folders if os.path.isfile(folder / name)]
        return found[0] if found else Path(name)

    def _find(self, key: str) -> Callable[..., Any]:
        spec = self.options.get(key)
        place, colon, name = str(spec or "").rpartition(":")
        if not colon or not place or not name:
            raise ConfigError(
                f"'model.{key}' of '{self.loaded.name}' must be 'package.module:name' or 'path/to/file.py:name', got {spec!r}."
            )
        try:
            with _importable(self._folders):
                module = _from_file(self._path(place)) if place.endswith(".py") else importlib.import_module(place)
        except (Exception, SystemExit) as error:  # a script that parses arguments as it is imported
            raise ConfigError(f"'model.{key}': cannot import '{place}': {type(error).__name__}: {error}.") from error
        found = getattr(module, name, None)
        if not callable(found):
            public = [one for one in vars(module) if not one.startswith("_") and callable(getattr(module, one))]
            raise ConfigError(f"'model.{key}': '{place}' has no function or class '{name}'{closest(name, public)}.")
        return found


def _from_file(path: Path) -> ModuleType:
    name = f"camtool_factory_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look there for the module of a class
    with _importable([path.absolute().parent]):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folders: list[Path]) -> Iterator[None]:
    # `python tools/vis_cam.py` has tools/ on the path, not the folder that the user stands in.
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        yield
    finally:
        sys.path[:] = before


def _is_numbers(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_numbers, value))
    return isinstance(value, (bool, int, float))


def _places(template: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return where the picture goes."""
    if isinstance(template, (dict, tuple)):
        items = template.items() if isinstance(template, dict) else enumerate(template)
        return [found for key, value in items for found in _places(value, (*place, key))]
    return [place] if template is None else []


def _filled(template: Any, picture: Tensor) -> Any:
    if isinstance(template, dict):
        return {key: _filled(value, picture) for key, value in template.items()}
    if isinstance(template, tuple):
        return tuple(_filled(value, picture) for value in template)
    return template.to(picture.device) if isinstance(template, Tensor) else picture
