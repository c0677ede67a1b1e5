"""What mmengine 0.10.7 lacks in reading configs beside current libraries: mended while a config is read, and put back."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config
from mmengine.config import config as reading
from mmengine.config import utils as parsing

from camtool.config.shipped import OWN, ZOO, scoped_file
from camtool.errors import ConfigError


@contextmanager
def repaired_reading() -> Iterator[None]:
    """Let `_base_ = 'mmpretrain::…'`, imports of a package's configs and of the standard library work inside the block."""
    descriptor = Config.__dict__["_get_cfg_path"]
    original, builtin = Config._get_cfg_path, parsing._is_builtin_module

    def get_cfg_path(base: str, filename: str) -> tuple[str, str | None]:
        return (str(scoped_file(base)), None) if base.startswith((f"{OWN}::", f"{ZOO}::")) else original(base, filename)

    def is_builtin(name: str) -> bool:  # its own does not know the library of a virtual environment
        return name.partition(".")[0] in sys.stdlib_module_names or builtin(name)

    # These two ask pkg_resources, which setuptools 82 no longer has.
    replaced: list[tuple[Any, str, Any]] = [
        (Config, "_get_cfg_path", staticmethod(get_cfg_path)),
        (reading, "get_installed_path", _folder_of),
        (reading, "is_installed", lambda package: importlib.util.find_spec(package) is not None),
        (reading, "_is_builtin_module", is_builtin),
        (parsing, "_is_builtin_module", is_builtin),
    ]
    before = [(owner, name, descriptor if owner is Config else getattr(owner, name)) for owner, name, _ in replaced]
    try:
        for owner, name, value in replaced:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _folder_of(package: str) -> str:
    """Return the folder of an installed package; ConfigError if there is none. mmpretrain keeps its configs in `.mim`."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"The config is based on one of the package '{package}', which is not installed.")
    folder = str(next(iter(spec.submodule_search_locations)))
    shipped = os.path.join(folder, ".mim")
    return shipped if not os.path.isdir(os.path.join(folder, "configs")) and os.path.isdir(os.path.join(shipped, "configs")) else folder
