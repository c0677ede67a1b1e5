"""Configs that come with an installed package: camtool's own `configs/`, and mmpretrain's."""

import importlib.util
import os
from pathlib import Path

from camtool.errors import ConfigError, closest

SUFFIXES = (".py", ".yaml", ".yml", ".json")
"""What a config file's name ends with."""

OWN, ZOO = "camtool", "mmpretrain"
"""Scopes: `camtool::family/name.py` and `mmpretrain::family/name.py`, as a path and as `_base_` of a config."""

SHARED = frozenset({"mobilenet_v3_small"})
"""Names of own configs that timm or torchvision has for another network, so that they are not enough."""

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_root() -> Path:
    """Return the folder of camtool's own configs: inside the package where it was installed, beside it in a clone."""
    inside = _PACKAGE / "configs"
    return inside if os.path.isdir(inside) else _PACKAGE.parent / "configs"


def own_names() -> dict[str, Path]:
    """Return camtool's own configs as they are typed: by the file's stem, or with scope and family where that is not enough."""
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
    """Return camtool's own config of this name, in any case; None where there is none, or several, or a file of that name."""
    if not is_name(source) or os.path.isfile(source):
        return None
    return {name.casefold(): path for name, path in own_names().items()}.get(source.casefold())


def scoped_file(source: str) -> Path:
    """Return the file of a config with a scope; ConfigError if there is none."""
    scope, _, relative = source.partition("::")
    if scope not in (OWN, ZOO):
        raise ConfigError(f"Cannot read config '{source}': only configs of '{ZOO}::' are known, and camtool's own as '{OWN}::'.")
    root = shipped_root() if scope == OWN else _zoo_root()
    path = root / relative
    if not os.path.isfile(path):
        there = [found.relative_to(root).as_posix() for found in root.glob("*/*") if found.suffix in SUFFIXES]
        raise ConfigError(f"{scope} ships no config '{relative}'{closest(relative, there)}.")
    return path


def _zoo_root() -> Path:
    spec = importlib.util.find_spec(ZOO)
    if spec is None or spec.origin is None:
        raise ConfigError(f"The package '{ZOO}' is not installed.")
    return Path(spec.origin).parent / ".mim" / "configs"
