"""Fonts for captions: Pillow's own, DejaVu Sans, then the fonts of the system, by the letters that they have."""

import os
import sys
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from PIL import ImageFont, features

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_NO_LETTER = "\uffff"  # drawn as the box for missing glyphs
_SUFFIXES = (".ttf", ".ttc", ".otf", ".otc")
_MOST_FILES = 1000  # of the system: looking into one takes about a millisecond
_PROBE_SIZE = 16
# Parts of file names, in lower case, of fonts with Chinese, Japanese and Korean, or with the letters of many scripts.
_LIKELY = (
    *("notosanscjk", "sourcehansans", "wqy", "droidsansfallback", "pingfang", "hiragino", "msyh", "meiryo", "yugoth", "malgun", "simsun"),
    *("applesdgothic", "arialunicode", "arial unicode", "notosans", "notonaskh", "unifont", "freesans", "nirmala", "arial", "tahoma"),
)


def font_for(text: str, size: float) -> tuple[Font, frozenset[str]]:
    """Return the first font that has every letter of `text`, else that with most of them; and the letters that it lacks.

    Args:
        size: in pixels.

    Example:
        >>> font, missing = font_for("tench", 12.0)
        >>> font.getname()[0], sorted(missing)
        ('Aileron', [])
        >>> font_for("кошка", 12.0)[0].getname()[0]
        'DejaVu Sans'
    """
    letters = frozenset(letter for letter in text if not letter.isascii() and not letter.isspace())
    file, missing = _choice(letters, tuple(font_folders()))
    return (ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)), missing


def can_reorder() -> bool:
    """Return whether Pillow draws right-to-left text in its order and joins its letters: it does with libraqm and FriBiDi."""
    return bool(features.check("raqm"))


def is_right_to_left(letter: str) -> bool:
    """Return whether a letter is of a script that is written from right to left."""
    return unicodedata.bidirectional(letter) in ("R", "AL")


def font_folders() -> list[Path]:
    """Return the folders where this system keeps fonts, whether they exist or not; those of the user come first."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", str(home / "AppData/Local"))
        return [Path(local) / "Microsoft/Windows/Fonts", Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"]
    own = os.environ.get("XDG_DATA_HOME") or str(home / ".local/share")
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [Path(own) / "fonts", home / ".fonts", *(Path(folder) / "fonts" for folder in shared.split(":") if folder)]


@lru_cache(maxsize=256)  # a picture has the same names in many captions; looking through a system's fonts takes up to a second
def _choice(letters: frozenset[str], folders: tuple[Path, ...]) -> tuple[Path | None, frozenset[str]]:
    """Return the file of a font, None for Pillow's own, and the letters that it lacks."""
    best: Path | None = None
    missing = _lacking(ImageFont.load_default(_PROBE_SIZE), letters)
    files = _files(folders)
    while missing and (file := next(files, None)) is not None:
        try:
            lacking = _lacking(ImageFont.truetype(file, _PROBE_SIZE), letters)
        except (OSError, ValueError):  # damaged, or a font of pictures in one size
            continue
        if len(lacking) < len(missing):
            best, missing = file, lacking
    return best, missing


def _files(folders: tuple[Path, ...]) -> Iterator[Path]:
    matplotlib = find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin is not None:  # it carries DejaVu Sans: Latin, Greek, Cyrillic, Hebrew, Arabic
        yield Path(matplotlib.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    found = [path for folder in folders for path in _below(folder)][:_MOST_FILES]
    yield from sorted(found, key=_rank)


def _below(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):  # a folder that cannot be read has no files
        yield from (Path(place) / name for name in sorted(names) if name.lower().endswith(_SUFFIXES))


def _rank(path: Path) -> tuple[int, bool, str]:
    name = path.name.lower()
    likely = next((place for place, part in enumerate(_LIKELY) if part in name), len(_LIKELY))
    return likely, "bold" in name or "italic" in name or "oblique" in name, str(path)


def _lacking(font: Font, letters: Collection[str]) -> frozenset[str]:
    box = _drawing(font, _NO_LETTER)
    return frozenset(letter for letter in letters if _drawing(font, letter) == box)


def _drawing(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
