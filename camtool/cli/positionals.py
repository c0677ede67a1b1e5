"""Positional arguments `IMG… CONFIG [CHECKPOINT]`: split them, and find the image files."""

import glob
import io
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from camtool.errors import ConfigError, ImageError, some

if TYPE_CHECKING:
    from camtool.apis.subjects import SubjectLike
    from camtool.models.sources.by_kind import AnyReading

STANDARD_INPUT = "-"
_USAGE = "Expected IMG and CONFIG: python tools/vis_cam.py demo/cat.jpg configs/… (--help says more)."


@dataclass(frozen=True)
class Positionals:
    """The positional arguments of a command that explains images."""

    images: Sequence[str]
    config: str
    checkpoint: str | None = None


def split_positionals(
    arguments: Sequence[str], *, needs_image: bool = True, others: Mapping[str, Sequence[str] | None] | None = None
) -> Positionals:
    """Return the images, the config and the checkpoint that `IMG… CONFIG [CHECKPOINT]` names.

    CONFIG is the last argument that is a config file, a known name or `source/name`. The first argument is an image, unless none is
    needed; at most one argument follows CONFIG. If none is a config, the likeliest is returned as one, to be reported as misspelt.

    Args:
        others: values of options that take several, which may have taken what was to be positional.

    Raises:
        ConfigError: if there is no CONFIG, no image, or more than one argument after CONFIG.

    Example:
        >>> split_positionals(["cat.jpg", "dog.jpg", "timm/resnet18", "weights.pth"])
        Positionals(images=['cat.jpg', 'dog.jpg'], config='timm/resnet18', checkpoint='weights.pth')
    """
    from camtool.config.loading import is_config
    from camtool.io.images import SUFFIXES

    first = 1 if needs_image else 0
    if len(arguments) <= first:
        raise ConfigError(_USAGE + taken_by(others or {}))
    position = next((index for index in range(len(arguments) - 1, first - 1, -1) if is_config(arguments[index])), None)
    if position is None:
        position = _likeliest(arguments, first)
        if Path(arguments[position]).suffix.lower() in SUFFIXES:
            raise ConfigError(_USAGE + taken_by(others or {}))  # images only
    rest = arguments[position + 1 :]
    if len(rest) > 1:
        raise ConfigError(
            f"Expected at most one argument, CHECKPOINT, after CONFIG '{arguments[position]}', got {some(list(map(repr, rest)))}. "
            "Images come before CONFIG."
        )
    config = os.path.expanduser(arguments[position])
    return Positionals(arguments[:position], config, os.path.expanduser(rest[0]) if rest else None)


def _likeliest(arguments: Sequence[str], first: int) -> int:
    """Return the position of the argument that is likeliest meant as the config, if none is one."""
    from camtool.config.shipped import SUFFIXES as CONFIG_SUFFIXES
    from camtool.io.images import SUFFIXES

    if len(arguments) - first <= 2 and Path(arguments[first]).suffix.lower() not in SUFFIXES:
        return first
    by_suffix = [index for index in range(first, len(arguments)) if Path(arguments[index]).suffix in CONFIG_SUFFIXES]
    return by_suffix[-1] if by_suffix else len(arguments) - 1


@dataclass(frozen=True)
class ImageFiles:
    """The image files of one command."""

    paths: Sequence[str]
    several: bool
    """Whether the arguments are several, a folder or a pattern, even if only one file matches."""
    bands: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """By path the files of its bands, where each has one of its own."""

    @property
    def names(self) -> list[str]:
        """Name of each image in reports and file names."""
        return ["stdin" if path == STANDARD_INPUT else path for path in self.paths]

    @property
    def read(self) -> Sequence[str | int]:
        """Paths of the files; for standard input its descriptor, which may be a file's by `< cat.jpg`."""
        files = [str(file) for path in self.paths for file in self.bands.get(path, (path,))]
        return [sys.stdin.fileno() if path == STANDARD_INPUT and _has_descriptor() else path for path in files]

    def images(self, reading: "AnyReading") -> "list[SubjectLike]":
        """Return the images; a single one is read now, so that a missing file is reported before any other work."""
        from camtool.apis.images import NamedPicture, PictureFile, of_bands
        from camtool.apis.subjects import load_subject
        from camtool.io.bands import read_bands
        from camtool.io.images import decode_picture
        from camtool.io.pillow import MOST_BYTES, Reading

        pictures = [PictureFile(path, reading, tuple(self.bands.get(path, ()))) for path in self.paths]
        if self.several:
            return list(pictures)
        if self.paths == [STANDARD_INPUT]:
            if not isinstance(reading, Reading):
                raise ImageError("Standard input is read for images only; expected a file in place of '-'.")
            if sys.stdin is None:
                raise ImageError("Standard input is closed; expected an image. Give a file in place of '-'.")
            content = sys.stdin.buffer.read(MOST_BYTES + 1)
            if reading.channels is not None:
                return [of_bands(read_bands(io.BytesIO(content), "standard input", reading), "stdin")]
            return [NamedPicture(decode_picture(content, "standard input", reading), "stdin")]
        return [load_subject(pictures[0], 0, reading)]


def _has_descriptor() -> bool:
    try:
        return sys.stdin is not None and sys.stdin.fileno() >= 0
    except (OSError, ValueError):  # replaced by another stream, or closed
        return False


def find_images(arguments: Sequence[str], reading: "AnyReading | None" = None) -> ImageFiles:
    """Return the image files of the arguments: files, folders (the images in them), patterns (`pictures/*.jpg`), `package://…`, `-`.

    Args:
        reading: how files are read, which says what they are: images, volumes, of which a DICOM folder is one, or signals. With
            `channels` of images, arrays (.npy) are images, too; where these are names of files, the files of one picture's bands are
            one image.

    Raises:
        ImageError: if a folder, a pattern or a package has no such image, an argument is an address or a list with commas, or standard
            input is combined with files.
    """
    from camtool.io.packages import PACKAGE, package_file
    from camtool.io.pillow import Reading
    from camtool.io.volumes import VolumeReading, is_volume

    if isinstance(reading, Reading) and reading.band_names:
        return _of_bands(arguments, reading.band_names)
    wanted = _wanted(reading)
    paths: list[str] = []
    several = len(arguments) > 1
    for argument in arguments:
        path = str(package_file(argument)) if argument.startswith(PACKAGE) else os.path.expanduser(argument)
        _check_is_path(path)
        if os.path.isdir(path) and not (isinstance(reading, VolumeReading) and is_volume(Path(path))):
            paths += _in_folder(path, wanted)
            several = True
        elif glob.has_magic(path) and not os.path.exists(path):
            paths += _matching(path, wanted)
            several = True
        else:
            paths.append(path)
    if STANDARD_INPUT in paths and len(paths) > 1:
        raise ImageError("'-' reads one image from standard input; give it alone, or files.")
    return ImageFiles(paths, several)


def _of_bands(arguments: Sequence[str], names: Sequence[str]) -> ImageFiles:
    """Return the images whose bands are files of their own; a folder stands for the files in it."""
    from camtool.io.band_files import band_files

    paths: list[str] = []
    for argument in map(os.path.expanduser, arguments):
        _check_is_path(argument)
        matching = sorted(glob.glob(argument, recursive=True)) if glob.has_magic(argument) and not os.path.exists(argument) else []
        paths += matching or [argument]
    found = band_files(paths, names)
    return ImageFiles(list(found), len(found) > 1, found)


def _check_is_path(path: str) -> None:
    from camtool.io.images import SUFFIXES

    if os.path.lexists(path):
        return
    if not path.strip():
        raise ImageError(f"Expected an image file, got {path!r}.")
    if path.partition("://")[0].casefold() in ("http", "https", "ftp"):
        raise ImageError(f"'{path}' is an address; expected a file. Download it, or pipe it: curl -sL '{path}' | camtool vis - CONFIG.")
    parts = [part.strip() for part in path.split(",")]
    if len(parts) > 1 and all(Path(part).suffix.casefold() in SUFFIXES for part in parts):
        raise ImageError(f"No picture '{path}'; several pictures are separated by blanks: {' '.join(parts)}.")


def taken_by(values: Mapping[str, Sequence[str] | None], wanted: str = "IMG and CONFIG") -> str:
    """Return a hint, " 'x.py' was read as a value of --method: …", where an option with several values took what was positional; else "".

    Args:
        values: by option what it took.
        wanted: the positional arguments: a picture counts as one only where IMG is among them.

    Example:
        >>> taken_by({"--image": ["a.jpg", "timm/resnet18"]}, "CONFIG")
        " 'timm/resnet18' was read as a value of --image: put CONFIG before it, or -- behind its values."
    """
    from camtool.config.loading import is_config
    from camtool.io.images import SUFFIXES

    for option, taken in values.items():
        for value in taken or []:
            is_image = "IMG" in wanted and (os.path.isfile(value) or Path(value).suffix.casefold() in SUFFIXES)
            if is_image or is_config(value):
                return f" {value!r} was read as a value of {option}: put {wanted} before it, or -- behind its values."
    return ""


@dataclass(frozen=True)
class _Wanted:
    """What files of a kind are called, and what they end in."""

    noun: str
    suffixes: Sequence[str]

    def __contains__(self, path: Path) -> bool:
        name = path.name.lower()
        return name.endswith(tuple(self.suffixes)) and not name.startswith(".") and os.path.isfile(path)

    def __str__(self) -> str:
        return ", ".join(self.suffixes)


def _wanted(reading: "AnyReading | None") -> _Wanted:
    from camtool.io.pillow import Reading
    from camtool.io.volumes import VolumeReading
    from camtool.models.sources.by_kind import suffixes_of

    noun = "image" if reading is None or isinstance(reading, Reading) else "volume" if isinstance(reading, VolumeReading) else "signal"
    return _Wanted(noun, suffixes_of(reading))


def _in_folder(folder: str, wanted: _Wanted) -> list[str]:
    from camtool.io.names import without_data_files

    if not os.access(folder, os.R_OK | os.X_OK):
        raise ImageError(f"No permission to read the folder '{folder}'; expected a folder of {wanted.noun}s.")
    images = without_data_files(str(path) for path in sorted(Path(folder).iterdir()) if path in wanted)
    if not images:
        below = next((str(path.parent) for path in Path(folder).glob("*/*") if path in wanted), None)
        hint = f" There are some in '{below}'." if below else ""
        raise ImageError(f"No {wanted.noun} in the folder '{folder}'; expected files such as {wanted}.{hint}")
    return images


def _matching(pattern: str, wanted: _Wanted) -> list[str]:
    from camtool.io.names import without_data_files

    images = without_data_files(sorted(path for path in glob.glob(pattern, recursive=True) if Path(path) in wanted))
    if not images:
        raise ImageError(f"No {wanted.noun} matches '{pattern}'; expected files such as {wanted}.")
    return images
