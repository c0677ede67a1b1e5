"""Paths of figures and arrays: checked before any work, and named after images, methods and targets."""

import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from camtool.apis.canvas import Canvas
from camtool.apis.figures import FigureOptions, Figures, Key
from camtool.config.shipped import SUFFIXES
from camtool.errors import OutputError
from camtool.io.atomic import check_writable, write_atomically
from camtool.io.images import check_format
from camtool.io.names import OF_PAIRS, stem_of, suffix_of

DEFAULT_FOLDER = Path("outputs/vis_cam")

_LONGEST_NAME = 100  # of the methods in a file's name; file systems allow 255 bytes
_LONGEST_NETWORK = 60


@runtime_checkable
class Drawable(Protocol):
    """An explanation or concepts of an image: has a figure and arrays to write."""

    @property
    def file_label(self) -> str:
        """Methods and target as a part of the file's name: "gradcam", "gradcam_contrast"."""

    def draw(self, options: FigureOptions, *, single: bool = False) -> Figures:
        """Return the figure of all maps, and with `single` one of each map."""

    def encoded(self, figures: Figures, suffix: str, options: FigureOptions) -> bytes:
        """Return the content of a file of this suffix; OutputError if it cannot hold these maps."""

    def of_one_map(self, figures: Figures, key: Key) -> dict[str, bytes]:
        """Return the files of one map in a folder, by suffix."""

    def arrays(self) -> bytes:
        """Return the content of a .npz file."""


@dataclass(frozen=True)
class Output:
    """Where the results of one or several images are written.

    Args:
        save_path: for one image a file (one figure of all maps) or a folder (a figure for each map); for several a folder. None: one
            figure in outputs/vis_cam/, named after image, network, methods and target.
        save_raw: arrays: for one image a .npz file, for several a folder.
        several: whether there may be more than one image.
        images: paths that are read, or descriptors of open files; none of them is overwritten.
        network: the network as a part of the default file's name, "" for none.
        formats: by suffix of the files that can be written the settings of `FigureOptions` that they show.
    """

    save_path: str | None = None
    save_raw: Path | None = None
    several: bool = False
    images: Sequence[str | int] = ()
    network: str = ""
    formats: Mapping[str, Collection[str]] = field(default_factory=lambda: Canvas.formats)

    def check(self, options: FigureOptions, *, shown: bool) -> None:
        """Raise OutputError if a path cannot be written, does not fit the number of images, or shows not all settings that were chosen.

        Args:
            shown: whether the figures are shown in a window, too.
        """
        for path in self._planned():
            check_writable(path)
        pictures = shown or self.save_path is None or self.one_a_map
        options.check_effect(".jpg" if pictures else suffix_of(Path(str(self.save_path))), self.formats)
        if self.save_path is not None and not self.one_a_map:
            self._images_read.check_kept([Path(self.save_path)])

    @cached_property
    def _images_read(self) -> "ImagesRead":
        return ImagesRead(self.images)

    def _planned(self) -> Iterable[Path]:
        if self.save_raw is not None:
            yield self._planned_arrays(self.save_raw)
        if self.save_path is None:
            yield DEFAULT_FOLDER / "image.jpg"
        elif self.one_a_map:
            suffix = suffix_of(Path(self.save_path))
            is_file = suffix in self.formats or OF_PAIRS.get(suffix) in self.formats
            if self.several and is_file and not os.path.isdir(self.save_path):
                raise OutputError(f"Several images are saved in a folder, got the file name '{self.save_path}'. Give a folder.")
            yield Path(self.save_path) / "image.jpg"
        else:
            check_format(suffix_of(Path(self.save_path)), self.formats)
            yield Path(self.save_path)

    def _planned_arrays(self, save_raw: Path) -> Path:
        is_file = save_raw.suffix == ".npz" and not save_raw.is_dir()
        if self.several and is_file:
            raise OutputError(f"--save-raw of several images is a folder, one .npz file an image, got '{save_raw}'.")
        if not self.several and not is_file:
            raise OutputError(f"--save-raw writes a .npz file, got '{save_raw}'.")
        return save_raw / "image.npz" if self.several else save_raw

    @property
    def one_a_map(self) -> bool:
        """Whether each map has a file of its own: `save_path` is a folder that exists, ends in a slash, or has no suffix."""
        path = self.save_path
        return path is not None and (self.several or path.endswith(("/", "\\")) or os.path.isdir(path) or not Path(path).suffix)

    def write(self, drawable: Drawable, figures: Figures, stem: str, options: FigureOptions) -> list[Path]:
        """Write the figures and arrays of one image, each whole or not at all; return their paths.

        Args:
            stem: beginning of the files' names.
            options: by which the figures were drawn.
        """
        files: list[tuple[Path, bytes]] = []
        if self.one_a_map and self.save_path is not None:
            for key in figures.single:
                method, target, layer = key
                name = "_".join([stem, *filter(None, (as_file_name(method), target, as_file_name(layer)))])
                for suffix, content in drawable.of_one_map(figures, key).items():
                    files.append((Path(self.save_path) / f"{name}{suffix}", content))
        else:
            name = "_".join(filter(None, (stem, self.network, drawable.file_label)))  # two networks of one picture: two files
            path = Path(self.save_path) if self.save_path else DEFAULT_FOLDER / f"{name}.jpg"
            files.append((path, drawable.encoded(figures, suffix_of(path), options)))
        if self.save_raw is not None:
            files.append((self.save_raw / f"{stem}.npz" if self.several else self.save_raw, drawable.arrays()))
        self._images_read.check_kept(path for path, _ in files)
        for path, content in files:
            write_atomically(path, content)
        return [path for path, _ in files]


class ImagesRead:
    """The image files that a command reads, which it must not overwrite."""

    def __init__(self, paths: Iterable[str | Path | int]) -> None:
        self._files = set(filter(None, map(_identity, paths)))

    def check_kept(self, paths: Iterable[Path]) -> None:
        """Raise OutputError if a path that is to be written is one of these files."""
        for path in paths:
            if _identity(path) in self._files:
                raise OutputError(f"Writing '{path}' would overwrite an image that is read. Choose another path.")


def _identity(path: str | Path | int) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # no such file
        return None
    return status.st_dev, status.st_ino


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return each name without folders and suffix, equal ones with a number. Names that differ in case only are equal.

    Example:
        >>> from camtool.apis.outputs import unique_stems
        >>> unique_stems(["a/cat.jpg", "b/Cat.png", "dog.jpg"])
        ['cat', 'Cat_2', 'dog']
    """
    own = [stem_of(Path(name)) for name in names]
    taken = set(map(_folded, own))
    counts: dict[str, int] = {}  # the number that each name had last: a folder may hold thousands of one name
    stems: list[str] = []
    for stem in own:
        folded = _folded(stem)
        if folded not in counts:
            counts[folded] = 1
            stems.append(stem)
            continue
        while _folded(numbered := f"{stem}_{counts[folded] + 1}") in taken:
            counts[folded] += 1
        counts[folded] += 1
        taken.add(_folded(numbered))
        stems.append(numbered)
    return stems


def _folded(name: str) -> str:
    """Return what is equal for names that some file system takes for one: in case, or in how an accent is composed."""
    return unicodedata.normalize("NFC", name).casefold()


def methods_as_file_name(methods: Sequence[str], *, every: bool) -> str:
    """Return the methods as a part of a file's name: joined, "all", or their number if there are many."""
    joined = "_".join(map(as_file_name, methods))
    if every:
        return "all"
    return joined if len(joined) <= _LONGEST_NAME else f"{len(methods)}_methods"


def network_as_file_name(config: str) -> str:
    """Return a config's path or name as a part of a file's name: of a file its stem, of a source and a name both.

    Example:
        >>> from camtool.apis.outputs import network_as_file_name
        >>> network_as_file_name("configs/efficientnet_lite/efficientnet-lite0_in1k.py"), network_as_file_name("timm/resnet18")
        ('efficientnet-lite0_in1k', 'timm-resnet18')
    """
    path = Path(config.rpartition("::")[2])
    is_path = path.suffix.lower() in SUFFIXES or path.is_absolute() or config.startswith(".") or "::" in config
    name = path.name.removesuffix(path.suffix) if path.suffix.lower() in SUFFIXES else path.name if is_path else config
    return as_file_name(name)[:_LONGEST_NETWORK].rstrip("-.")


def as_file_name(name: str) -> str:
    """Return a layer's path or a method's name with characters valid in file names: `smooth:gradcam++` is `smooth-gradcam++`."""
    return "".join(character if character.isalnum() or character in "._-+" else "-" for character in name).strip("-")
