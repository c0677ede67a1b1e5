"""Positional arguments `IMG… CONFIG [CHECKPOINT]`: split them, and find the image files."""

import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from camtool.errors import ConfigError, ImageError, some

if TYPE_CHECKING:
    from camtool.apis.images import ImageLike

STANDARD_INPUT = "-"
_USAGE = "Expected IMG and CONFIG: python tools/vis_cam.py demo/cat.jpg configs/… (--help says more)."


@dataclass(frozen=True)
class Positionals:
    """The positional arguments of a command that explains images."""

    images: Sequence[str]
    config: str
    checkpoint: str | None = None


def split_positionals(arguments: Sequence[str], *, needs_image: bool = True) -> Positionals:
    """Return the images, the config and the checkpoint that `IMG… CONFIG [CHECKPOINT]` names.

    CONFIG is the last argument that is a config file, a known name or `source/name`. The first argument is an image, unless none is
    needed; at most one argument follows CONFIG. If none is a config, the likeliest is returned as one, to be reported as misspelt.

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
        raise ConfigError(_USAGE)
    position = next((index for index in range(len(arguments) - 1, first - 1, -1) if is_config(arguments[index])), None)
    if position is None:
        position = _likeliest(arguments, first)
        if Path(arguments[position]).suffix.lower() in SUFFIXES:
            raise ConfigError(_USAGE)  # images only
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

    @property
    def names(self) -> list[str]:
        """Name of each image in reports and file names."""
        return ["stdin" if path == STANDARD_INPUT else path for path in self.paths]

    def images(self) -> "list[ImageLike]":
        """Return the images; a single one is read now, so that a missing file is reported before any other work."""
        from camtool.apis.images import NamedPicture, load_image
        from camtool.io.images import decode_picture

        if self.several:
            return list(self.paths)
        if self.paths == [STANDARD_INPUT]:
            if sys.stdin is None:
                raise ImageError("Standard input is closed; expected an image. Give a file in place of '-'.")
            return [NamedPicture(decode_picture(sys.stdin.buffer.read(), "standard input"), "stdin")]
        return [load_image(self.paths[0])]


def find_images(arguments: Sequence[str]) -> ImageFiles:
    """Return the image files of the arguments: files, folders (the images in them), patterns (`pictures/*.jpg`), `-`.

    Raises:
        ImageError: if a folder or a pattern has no image, or standard input is combined with files.
    """
    paths: list[str] = []
    several = len(arguments) > 1
    for argument in arguments:
        path = os.path.expanduser(argument)
        if os.path.isdir(path):
            paths += _in_folder(path)
            several = True
        elif glob.has_magic(path) and not os.path.exists(path):
            paths += _matching(path)
            several = True
        else:
            paths.append(path)
    if STANDARD_INPUT in paths and len(paths) > 1:
        raise ImageError("'-' reads one image from standard input; give it alone, or files.")
    return ImageFiles(paths, several)


def _in_folder(folder: str) -> list[str]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ImageError(f"No permission to read the folder '{folder}'; expected a folder of images.")
    images = [str(path) for path in sorted(Path(folder).iterdir()) if _is_image(path)]
    if not images:
        below = next((str(path.parent) for path in Path(folder).glob("*/*") if _is_image(path)), None)
        hint = f" There are some in '{below}'." if below else ""
        raise ImageError(f"No image in the folder '{folder}'; expected files such as {_suffixes()}.{hint}")
    return images


def _matching(pattern: str) -> list[str]:
    images = sorted(path for path in glob.glob(pattern, recursive=True) if _is_image(Path(path)))
    if not images:
        raise ImageError(f"No image matches '{pattern}'; expected files such as {_suffixes()}.")
    return images


def _is_image(path: Path) -> bool:
    from camtool.io.images import SUFFIXES

    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and os.path.isfile(path)


def _suffixes() -> str:
    from camtool.io.images import SUFFIXES

    return ", ".join(SUFFIXES)
