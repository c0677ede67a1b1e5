"""Config files that installed packages ship: camtool's own `configs/`, and mmpretrain's."""

import importlib.util
import os
from pathlib import Path

from camtool.errors import ConfigError, closest

SUFFIXES = (".py", ".yaml", ".yml", ".json")
"""Suffixes of config files."""

OWN, ZOO = "camtool", "mmpretrain"
"""Scopes: `camtool::family/name.py` and `mmpretrain::family/name.py`, as a path and as `_base_` of a config."""

OTHER_SCOPES = {
    "mmdet": "detectors",
    "mmseg": "segmenters",
    "mmdet3d": "detectors in 3-D",
    "mmpose": "pose estimators",
    "mmaction": "networks of videos",
    "mmocr": "readers of text",
    "mmagic": "generators",
    "mmrotate": "detectors of rotated boxes",
}
"""Scopes of OpenMMLab whose configs are for networks other than classifiers, and for which."""

NO_CLASSIFIER = (
    f"Expected a classifier, '{OWN}::…', '{ZOO}::…' or a file; another network that was built in Python is explained by camtool.CAM with "
    "a target such as BoxScore or Region."
)

SHARED = frozenset({"mobilenet_v3_small"})
"""Names of own configs that timm or torchvision uses for another network, so that they need a scope."""

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_root() -> Path:
    """Return the folder of camtool's own configs: inside the package where it was installed, beside it in a clone."""
    inside = _PACKAGE / "configs"
    return inside if os.path.isdir(inside) else _PACKAGE.parent / "configs"


def own_names() -> dict[str, Path]:
    """Return the files of camtool's own configs by name: the file's stem, or `camtool::family/name.py` if that is ambiguous."""
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(shipped_root().rglob("*")):
        if path.suffix in SUFFIXES:
            by_stem.setdefault(path.stem.casefold(), []).append(path)
    return {
        path.stem if len(paths) == 1 and stem not in SHARED else f"{OWN}::{path.relative_to(shipped_root()).as_posix()}": path
        for stem, paths in sorted(by_stem.items())
        for path in paths
    }


def is_name(source: str) -> bool:
    """Return whether `source` has the form of a name: no folder, no scope and no config file's suffix."""
    return "::" not in source and source == Path(source).name != "" and Path(source).suffix.lower() not in SUFFIXES


def shipped_file(source: str) -> Path | None:
    """Return the file of camtool's own config of this name, in any case; None if there is none, several, or a file `source`."""
    if not is_name(source) or os.path.isfile(source):
        return None
    return {name.casefold(): path for name, path in own_names().items()}.get(source.casefold())


def scoped_file(source: str) -> Path:
    """Return the file of a config with a scope; ConfigError if there is none."""
    scope, _, relative = source.partition("::")
    if scope in OTHER_SCOPES:
        raise ConfigError(f"'{source}' is a config of {scope}, for {OTHER_SCOPES[scope]}. {NO_CLASSIFIER}")
    if scope not in (OWN, ZOO):
        raise ConfigError(f"Cannot read config '{source}': unknown scope '{scope}'; expected '{OWN}::' or '{ZOO}::'.")
    root = shipped_root() if scope == OWN else _zoo_root()
    path = root / relative
    if not os.path.isfile(path):
        names = [file.relative_to(root).as_posix() for file in root.glob("*/*") if file.suffix in SUFFIXES]
        raise ConfigError(f"{scope} ships no config '{relative}'{closest(relative, names)}.")
    return path


def _zoo_root() -> Path:
    spec = importlib.util.find_spec(ZOO)
    if spec is None or spec.origin is None:
        raise ConfigError(f"The package '{ZOO}' is not installed.")
    return Path(spec.origin).parent / ".mim" / "configs"
