"""Measured placements on disk: a small JSON file for each checkpoint and network."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camtool.errors import CamtoolError, OutputError, warn
from camtool.io.atomic import remove_leftovers, write_atomically
from camtool.placement import Placement

VERSION = 1
"""Of the measurement: files of another version are measured anew."""


def cache_folder() -> Path:
    """Return the folder of kept placements: below CAMTOOL_CACHE, else XDG_CACHE_HOME/camtool, else the system's folder of caches.

    Example:
        >>> from camtool.instrumentation.placement_cache import cache_folder
        >>> cache_folder().name
        'placements'
    """
    own, standard = os.environ.get("CAMTOOL_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser() / "placements"
    if standard:
        return Path(standard) / "camtool" / "placements"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "camtool" / "Cache" / "placements"
    caches = Path.home() / "Library" / "Caches" if sys.platform == "darwin" else Path.home() / ".cache"
    return caches / "camtool" / "placements"


def read_placements(key: str, size: Sequence[int]) -> dict[str, Placement]:
    """Return the kept placements by layer path; {} if there are none. A file that cannot be read is ignored, with a warning.

    Args:
        key: digest of the checkpoint and the network.
        size: of the input, in pixels.
    """
    path = _file(key)
    try:
        return read_file(path)[1].get(tuple(size), {}) if path.exists() else {}
    except CamtoolError as error:
        warn(f"{error} It is measured anew.")
        return {}


def write_placements(key: str, size: Sequence[int], placements: Mapping[str, Placement]) -> None:
    """Keep the placements of a network's layers for inputs of this size, beside those for other sizes; a warning if that is impossible."""
    path = _file(key)
    try:
        others = read_file(path)[1] if path.exists() else {}
    except CamtoolError:
        others = {}
    sizes = {**others, tuple(size): dict(placements)}
    entries = [
        {"size": list(pixels), "layer": layer, "scale": list(place.scale), "offset": list(place.offset), "source": place.source}
        for pixels, by_layer in sizes.items()
        for layer, place in by_layer.items()
    ]
    content = json.dumps({"version": VERSION, "key": key, "placements": entries}, indent=1, ensure_ascii=False)
    try:
        write_atomically(path, f"{content}\n".encode())
    except OutputError as error:
        warn(f"Measured placements are not kept: {error} Or set CAMTOOL_CACHE to a folder that can be written.")


def read_file(path: Path) -> tuple[str, dict[tuple[int, ...], dict[str, Placement]]]:
    """Return the key of a file of kept placements, and these by input size and layer; none if it is of another version.

    Raises:
        CamtoolError: if it is not such a file.
    """
    try:
        content: Any = json.loads(path.read_bytes())
        key, sizes = str(content["key"]), dict[tuple[int, ...], dict[str, Placement]]()
        for entry in content["placements"] if content["version"] == VERSION else ():
            scale, offset = (tuple(map(float, entry[name])) for name in ("scale", "offset"))
            placement = Placement(scale, offset, str(entry["source"]))
            if len(placement.scale) != len(entry["size"]):
                raise ValueError("a size of other axes than its placement")
            sizes.setdefault(tuple(map(int, entry["size"])), {})[str(entry["layer"])] = placement
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CamtoolError) as error:
        raise CamtoolError(f"'{path}' is no file of kept placements ({type(error).__name__}); expected one that camtool wrote.") from error
    return key, sizes


def kept_files() -> list[Path]:
    """Return the files of kept placements, by name."""
    return sorted(cache_folder().glob("*.json"))


def clear() -> int:
    """Remove all kept placements; return the number of files.

    Raises:
        OutputError: if a file cannot be removed.
    """
    files = kept_files()
    try:
        for path in files:
            path.unlink(missing_ok=True)
        remove_leftovers(cache_folder(), ["*"])
    except OSError as error:
        raise OutputError(f"Cannot remove '{error.filename}': {error.strerror}. Check its permissions.") from error
    return len(files)


def _file(key: str) -> Path:
    return cache_folder() / f"{key[:24]}-{key.rpartition('-')[2]}.json"
