"""Source of your own networks: `model=dict(type='camtool.TorchModel', factory='my_package.my_module:build', …)`."""

import importlib
import importlib.util
import inspect
import os
import re
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
from camtool.config.shipped import shipped_root
from camtool.errors import ConfigError, closest
from camtool.models.checkpoints import Checkpoint
from camtool.models.sources._base import Preprocess, Source
from camtool.models.sources.by_kind import described_as
from camtool.models.sources.kinds import IMAGE, input_kind, said_preprocess
from camtool.models.sources.preprocessing import described, of_pil

KEYS = ("type", "factory", "kwargs", "with_weights", "preprocess", "inputs", "classes", "multi_label")
"""Keys that `model` may have."""

FACTORY = "the factory's own weights"

PICTURE = "picture"
"""Placeholder for the image tensor in `inputs`."""


class TorchModel(Source):
    """Source of any nn.Module that a function or class of yours returns.

    `factory` is `package.module:name` or `path/to/file.py:name`, called with `kwargs`. `preprocess` is a dict
    (`resize`, `crop`, `mean`, `std`, `color`, `interpolation`), or a `module:name` of a function from a PIL image to a tensor.
    `with_weights=True`: the factory sets the weights, no checkpoint is needed.
    `inputs`, for a network with several inputs: a list (positional) or dict (keywords) with 'picture' for the image; other values are
    numbers, lists of numbers, or .npy files.
    """

    own_keys = KEYS
    kind_by_layers = True

    def __init__(self, loaded: LoadedConfig) -> None:
        super().__init__(loaded)
        for key in self.options:
            if key not in KEYS:
                raise ConfigError(f"'model' of '{loaded.name}' has no key '{key}'{closest(key, KEYS)}; expected {', '.join(KEYS)}.")
        if not isinstance(self.options.get("kwargs", {}), Mapping):
            raise ConfigError(f"'model.kwargs' of '{loaded.name}' must be a dict, got {self.options['kwargs']!r}.")
        config = Path(loaded.config.filename or loaded.name).absolute()
        self._folders = [config.parent, Path.cwd()]  # what a config names lies beside it
        # A config that comes with camtool names what lies beside `configs/`, in a clone and in an installation.
        self._shipped = [shipped_root().parent] if config.resolve().is_relative_to(shipped_root()) else []
        self.published = FACTORY if self.options.get("with_weights") else None
        self._inputs = self._read_inputs(self.options.get("inputs", [PICTURE]))

    @property
    def classes_option(self) -> str:  # type: ignore[override]  # a constant elsewhere
        """The override of the factory's argument that is called so; of a guess, the most usual."""
        factory = self._find("factory")
        parameters = list(inspect.signature(factory).parameters)
        named = [name for name in (*self.options.get("kwargs", {}), *parameters) if re.search("class|label|n_out|out_dim", name)]
        return f"model.kwargs.{named[0] if named else 'num_classes'}={{}}"

    def build(self) -> nn.Module:
        factory = self._find("factory")
        with _importable(self._folders):
            return self.constructed(lambda: factory(**self.options.get("kwargs", {})))

    def read(self, weights: str) -> Checkpoint:
        return Checkpoint({}, {}, weights, None) if weights == FACTORY else super().read(weights)

    def kind(self, model: nn.Module) -> str:
        return input_kind(self.loaded, model)

    def preprocessing(self, model: nn.Module) -> Preprocess:
        spec, kind = self.options.get("preprocess"), self.kind(model)
        if said_preprocess(self.loaded):
            raise ConfigError(f"'input.preprocess' of '{self.loaded.name}' goes before a test pipeline; expected 'model.preprocess'.")
        if kind != IMAGE:
            return described_as(kind, spec)
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

    def _read_inputs(self, inputs: Any) -> Any:
        if not isinstance(inputs, (list, tuple, dict)):
            raise ConfigError(f"'model.inputs' must be a list or a dict that contains '{PICTURE}', got {inputs!r}.")
        template = self._template(inputs)
        if len(_places(template)) != 1:
            raise ConfigError(f"'model.inputs' must contain '{PICTURE}' exactly once, got {inputs!r}.")
        alone = isinstance(template, tuple) and len(template) == 1
        return template[0] if alone and not isinstance(template[0], dict) else template

    def _template(self, inputs: Any, depth: int = 0) -> Any:
        """Return `inputs` with tensors in place of numbers and files, and None in place of the image."""
        if inputs == PICTURE:
            return None
        if isinstance(inputs, dict):
            return {key: self._template(value, depth + 1) for key, value in inputs.items()}
        if isinstance(inputs, (list, tuple)) and (depth == 0 or not _is_numbers(inputs)):
            return tuple(self._template(value, depth + 1) for value in inputs)
        try:
            if isinstance(inputs, str):
                values = torch.from_numpy(np.load(self._path(inputs), allow_pickle=False))
                return values.float() if values.is_floating_point() else values  # numpy's default is float64
            return torch.tensor(inputs)
        except Exception as error:  # exceptions of numpy, of zip files, of the operating system
            raise ConfigError(
                f"'model.inputs': expected '{PICTURE}', numbers, lists of numbers or a .npy file, got {inputs!r} ({error})."
            ) from error

    def _path(self, name: str) -> Path:
        found = [folder / name for folder in (*self._shipped, *self._folders) if os.path.isfile(folder / name)]
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
        except (Exception, SystemExit) as error:  # SystemExit: a script that parses arguments on import
            raise ConfigError(f"'model.{key}': cannot import '{place}': {type(error).__name__}: {error}.") from error
        function = getattr(module, name, None)
        if not callable(function):
            public = [member for member in vars(module) if not member.startswith("_") and callable(getattr(module, member))]
            raise ConfigError(f"'model.{key}': '{place}' has no function or class '{name}'{closest(name, public)}.")
        return function


def _from_file(path: Path) -> ModuleType:
    name = f"camtool_factory_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up the module of a class there
    with _importable([path.absolute().parent]):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folders: list[Path]) -> Iterator[None]:
    # `python tools/vis_cam.py` has tools/ on the path, not the working directory.
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
    """Return the paths (keys and positions) of the image's placeholders."""
    if isinstance(template, (dict, tuple)):
        items = template.items() if isinstance(template, dict) else enumerate(template)
        return [inner for key, value in items for inner in _places(value, (*place, key))]
    return [place] if template is None else []


def _filled(template: Any, picture: Tensor) -> Any:
    if isinstance(template, dict):
        return {key: _filled(value, picture) for key, value in template.items()}
    if isinstance(template, tuple):
        return tuple(_filled(value, picture) for value in template)
    return template.to(picture.device) if isinstance(template, Tensor) else picture
