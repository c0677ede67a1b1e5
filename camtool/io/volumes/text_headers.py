"""Files of a text header and its voxels, behind it or in a file beside it: what MetaImage and NRRD have in common."""

import bz2
import gzip
import io
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from camtool.errors import ImageError
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import Geometry, Volume
from camtool.io.volumes.voxels import (
    Inflated,
    Stream,
    as_float32,
    check_spacing_is_stated,
    check_voxels,
    located,
    only_spatial,
    quoted,
    read_voxels,
    skip,
)

_MOST_LINES, _LONGEST_LINE = 1 << 20, 1 << 20  # skipped before voxels
_SAME_PLACE = 1e-4  # of a voxel
_UNPACKED: Mapping[str, Callable[[Any], Stream]] = {
    "raw": lambda data: cast(Stream, data),
    "zlib": Inflated,
    "gzip": lambda data: cast(Stream, gzip.GzipFile(fileobj=data)),
    "bzip2": lambda data: cast(Stream, bz2.BZ2File(data)),
}


@dataclass(frozen=True, kw_only=True)
class VoxelData:
    """Where the bytes of voxels are, and how they are packed."""

    file: str | None = None
    """Name of a file beside the header's; None: behind the header."""
    packing: str = "raw"
    """"raw", "zlib", "gzip" or "bzip2"."""
    lines: int = 0
    """Skipped at the start."""
    packed: int = 0
    """Bytes that are skipped then, before anything is unpacked."""
    unpacked: int = 0
    """Bytes that are skipped then, of what was unpacked."""
    at_end: bool = False
    """Whether they are the last bytes of the file; raw ones alone."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a header says of its voxels."""

    shape: Sequence[int]
    """The axis that is fastest in the file is the first."""
    dtype: np.dtype[Any]
    others: Sequence[int]
    """The axes that are not in space, and number volumes."""
    affine: np.ndarray | None
    """(4, 4), of the axes in space, towards right, anterior and superior; None: it is not said."""
    data: VoxelData
    slope: float = 1.0
    intercept: float = 0.0
    place: Mapping[str, str]
    """Its fields that say where voxels of three axes in space lie, as they stand in the file; {} where none do so word for word."""


@dataclass(frozen=True)
class TextHeader:
    """What is kept of a header, so that a map's can say the same in the same words."""

    form: str
    place: Mapping[str, str]
    geometry: Geometry | None

    def words_for(self, geometry: Geometry | None, shape: Sequence[int]) -> Mapping[str, str] | None:
        """Return the fields that say where a volume of this geometry lies; None if they say another place."""
        same = (
            self.geometry is None
            if geometry is None
            else self.geometry is not None and self.geometry.distance(geometry, shape) < _SAME_PLACE
        )
        return self.place if same and self.place else None


@dataclass(frozen=True)
class Form:
    """A kind of file with a text header.

    Args:
        name: in messages.
        last: the field that ends a header; "": an empty line does.
        fields: from the lines of a header to its fields; the name of the file is for messages.
        stated: from the fields to what they say.
    """

    name: str
    last: str
    fields: Callable[[Sequence[str], str], Mapping[str, str]]
    stated: Callable[[Mapping[str, str], str], Stated]

    def read(self, path: Path, reading: VolumeReading) -> Volume:
        """Return the volume of a file, or of a header and of the file beside it that it names.

        Raises:
            ImageError: if it is damaged, its voxels lie outside of its folder, or it has no volume of three axes in space as asked for.
        """
        name = str(path)
        try:
            with path.open("rb") as file:
                stated = self.stated(self.fields(header_lines(cast(Any, file), name, self.last), name), name)
                check_voxels(stated.shape, stated.dtype, name, reading)
                geometry = None if stated.affine is None else located(stated.affine, name)
                check_spacing_is_stated(geometry.spacing if geometry else None, name, reading)
                raw = _voxels(path, file, stated)
        except ImageError:
            raise
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ImageError(f"'{name}' cannot be read as {self.name}; it is truncated or damaged: {str(error).rstrip('.')}.") from error
        values = only_spatial(raw, stated.others, name, reading)
        header = TextHeader(self.name, stated.place, geometry)
        return Volume(as_float32(values, name, reading, stated.slope, stated.intercept), geometry, name, path.suffix.lower(), header)

    def place_words(self, header: Any, geometry: Geometry | None, shape: Sequence[int]) -> Mapping[str, str] | None:
        """Return the fields that say where a map lies as its scan's header said it; None if that is of another form, or place."""
        return header.words_for(geometry, shape) if isinstance(header, TextHeader) and header.form == self.name else None


def digits(number: float) -> str:
    """Return a number as text that reads as the same number."""
    return repr(int(number)) if float(number).is_integer() and abs(number) < 1e15 else repr(float(number))


def beside(header: Path, file: str, name: str) -> Path:
    """Return the file of voxels that a header names, if it lies in the header's folder, as a link does not make it lie elsewhere.

    Raises:
        ImageError: if it lies elsewhere, is a pattern or a list, is missing or no file.
    """
    if (
        not file
        or file in (".", "..")
        or any(character in file for character in "/\\\0%*?:")
        or file.split(maxsplit=1)[0].upper() == "LIST"
    ):
        raise ImageError(f"'{name}' names {quoted(file)} as the file of its voxels; expected one file in the same folder, by its name.")
    path = header.parent / file
    if not os.path.isfile(path):
        raise ImageError(f"'{name}' names {quoted(file)} as the file of its voxels, which is missing. Copy both files.")
    if path.resolve().parent != header.parent.resolve():
        raise ImageError(
            f"'{name}' names {quoted(file)} as the file of its voxels, a link that leads out of its folder; expected a file there."
        )
    return path


def header_lines(file: io.BufferedIOBase, name: str, last: str = "", most: int = 1 << 20) -> list[str]:
    """Return the lines of a text header up to an empty one, or one that sets `last`; the file then stands behind it.

    Raises:
        ImageError: if it does not end within `most` bytes.
    """
    lines: list[str] = []
    count = 0
    while line := file.readline(most - count):
        count += len(line)
        if count >= most:
            raise ImageError(f"'{name}' has a header without an end; expected lines of text. It is damaged.")
        text = line.decode("latin-1").rstrip("\r\n")
        if not text and not last:
            break
        lines.append(text)
        if last and text.partition("=")[0].strip() == last:
            break
    return lines


def _voxels(path: Path, header: BinaryIO, stated: Stated) -> np.ndarray:
    data = stated.data
    source = path if data.file is None else beside(path, data.file, str(path))
    with source.open("rb") as file:
        file.seek(header.tell() if data.file is None else 0)
        for _ in range(min(data.lines, _MOST_LINES)):
            file.readline(_LONGEST_LINE)
        if data.at_end:
            file.seek(max(0, os.path.getsize(source) - math.prod(stated.shape) * stated.dtype.itemsize))
        skip(file, data.packed)
        unpacked = _UNPACKED[data.packing](file)
        skip(unpacked, data.unpacked)
        return read_voxels(unpacked, stated.shape, stated.dtype, str(source))
