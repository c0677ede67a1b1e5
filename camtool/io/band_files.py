"""Pictures whose bands are files of their own: which files make one picture."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from camtool.errors import ImageError, some


def band_files(paths: Iterable[str], names: Sequence[str]) -> Mapping[str, Sequence[Path]]:
    """Return by picture its files, one for each of `names`, in their order: those that differ only where that name stands in theirs.

    A folder stands for the files in it. The picture is called by what the names of its files share, else by their folder.

    Raises:
        ImageError: if a file has none of the names, or a picture has no file, or two, of a name.

    Example:
        >>> files = band_files(["a/s_B8.tif", "a/s_B4.tif"], ["B4", "B8"])
        >>> {name: [file.name for file in row] for name, row in files.items()}
        {'a/s': ['s_B4.tif', 's_B8.tif']}
    """
    found: dict[str, dict[str, Path]] = {}
    for path in paths:
        inside = os.path.isdir(path)
        for file in sorted(Path(path).iterdir()) if inside else [Path(path)]:
            band = _band_of(file, names)
            if band is None:
                if inside:  # metadata, previews
                    continue
                raise ImageError(
                    f"'{file}' is of none of the bands {some([repr(name) for name in names], 13)}, as preprocess.channels names them."
                )
            rest = "" if file.name == band else _word(band).sub("", _stem(file), count=1).strip("_-. ")
            picture = str(file.parent / rest) if rest else str(file.parent)
            other = found.setdefault(picture, {}).setdefault(band, file)
            if other != file:
                raise ImageError(f"Picture '{picture}' has two files of the band '{band}', '{other}' and '{file}'; expected one.")
    for picture, files in found.items():
        missing = [name for name in names if name not in files]
        if missing:
            raise ImageError(
                f"Picture '{picture}' has no file of the band {some([repr(name) for name in missing])}; expected one for each name in "
                "preprocess.channels."
            )
    if not found:
        raise ImageError(f"No files of the bands {some([repr(name) for name in names], 13)} in {', '.join(map(repr, paths))}.")
    return {picture: [files[name] for name in names] for picture, files in found.items()}


def _band_of(file: Path, names: Sequence[str]) -> str | None:
    """Return the longest of the names that is the file's, with or without suffix, or a word in it ("B8" in "scene_B8.tif")."""
    stem = _stem(file)
    fitting = [name for name in names if name in (file.name, stem) or _word(name).search(stem)]
    return max(fitting, key=len, default=None)


def _stem(file: Path) -> str:
    return file.name.removesuffix(file.suffix)


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])")
