"""TIFF files with any number of bands, as remote sensing and microscopes write them; Pillow knows those of pictures only."""

import io
import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from camtool.errors import ImageError
from camtool.io.pillow import decode, open_of_any_size

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF file: classic and BigTIFF, of both byte orders."""

_PIXEL_TYPES = {1: "u", 2: "i", 3: "f"}  # SampleFormat
_PLAIN, _COMPRESSIONS = 1, (5, 8, 32773, 32946, 50000)  # LZW, Deflate, PackBits, old Deflate, Zstandard
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3  # Predictor
_OVERVIEW = 1  # bit of NewSubfileType: the page before, smaller
_UNREAD = -1
MOST_PAGES = 10_000
"""Of a file; further ones are not looked for."""

# Tags of the specification, TIFF 6.0.
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _BANDS, _ROWS, _STRIP_BYTES, _PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _FORMAT = 317, 322, 323, 324, 325, 339


@dataclass(frozen=True)
class Page:
    """One picture of a TIFF file, not decoded yet."""

    tags: dict[int, Any]
    order: str
    """Byte order of its numbers, as numpy's "<" or ">"."""

    def _one(self, tag: int, default: int) -> int:
        value = self.tags.get(tag, default)
        return int(value[0] if isinstance(value, tuple) else value)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in the file, before it is turned upright."""
        return self._one(_WIDTH, 0), self._one(_HEIGHT, 0)

    @property
    def bands(self) -> int:
        """Number of values of a pixel."""
        return self._one(_BANDS, 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values; ImageError for bits that are no whole bytes, or bands of several types."""
        bits, kinds = (set(np.atleast_1d(self.tags.get(tag, 1)).tolist()) for tag in (_BITS, _FORMAT))
        if len(bits) != 1 or len(kinds) != 1 or not bits <= {8, 16, 32, 64} or not kinds <= set(_PIXEL_TYPES):
            raise ImageError(f"bands of {', '.join(map(str, sorted(bits)))} bits; expected one type of 8, 16, 32 or 64 bits")
        (bit,), (kind,) = bits, kinds
        if _PIXEL_TYPES[kind] == "f" and bit == 8:
            raise ImageError("floating point of 8 bits; expected 16, 32 or 64")
        return np.dtype(f"{self.order}{_PIXEL_TYPES[kind]}{bit // 8}")

    @property
    def _separate(self) -> bool:
        """Whether each band has strips or tiles of its own."""
        return self._one(_PLANAR, 1) == 2 and self.bands > 1

    @property
    def _section_size(self) -> tuple[int, int]:
        """(width, height) of a tile, or of a strip, which is as wide as the page."""
        width, height = self.size
        if _TILES in self.tags:
            return self._one(_TILE_WIDTH, width), self._one(_TILE_HEIGHT, height)
        return width, min(self._one(_ROWS, height), height)

    @property
    def most_bytes(self) -> int:
        """Most memory that decoding takes: the values, and a strip or tile, which may be larger."""
        pixel = self.bands * self.dtype.itemsize
        return 2 * pixel * math.prod(self.size) + 3 * math.prod(self._section_size) * (pixel // self.bands if self._separate else pixel)

    def decode(self, file: io.BufferedIOBase) -> np.ndarray:
        """Return the values (h, w, bands), upright; ImageError or OSError if the file is damaged or compressed in another way."""
        width, height = self.size
        separate, tiled = self._separate, _TILES in self.tags
        across, down = self._section_size
        if min(across, down) < 1:
            raise ImageError("it has no pixels")
        starts, lengths = (
            np.atleast_1d(self.tags.get(tag, ())).astype(int).tolist()
            for tag in ((_TILES, _TILE_BYTES) if tiled else (_STRIPS, _STRIP_BYTES))
        )
        planes = self.bands if separate else 1
        expected = planes * math.ceil(height / down) * math.ceil(width / across)
        if not len(starts) == len(lengths) == expected:
            raise ImageError(f"{len(starts)} strips or tiles; expected {expected}")
        places = itertools.product(range(planes), range(0, height, down), range(0, width, across))
        values = np.zeros((height, width, self.bands), self.dtype)
        for (plane, top, left), start, length in zip(places, starts, lengths, strict=True):
            rows = down if tiled else min(down, height - top)
            file.seek(start)
            content = file.read(length)
            if len(content) < length and self._one(_COMPRESSION, _PLAIN) != _PLAIN:  # what is not compressed is counted below
                raise OSError("a strip or tile is not whole")
            section = self._section(content, rows, across, 1 if separate else self.bands)
            part = slice(plane, plane + 1) if separate else slice(None)
            values[top : top + rows, left : left + across, part] = section[: height - top, : width - left]
        if self._one(_PHOTOMETRIC, 1) == 0 and values.dtype.kind == "u":  # white is zero
            values = np.iinfo(values.dtype).max - values
        return _upright(values, self._one(_ORIENTATION, 1))

    def _section(self, content: bytes, rows: int, columns: int, bands: int) -> np.ndarray:
        """Return the values (rows, columns, bands) of a strip or tile."""
        dtype, predictor = self.dtype, self._one(_PREDICTOR, 1)
        row_bytes = columns * bands * dtype.itemsize
        raw = _unpacked(content, self._one(_COMPRESSION, _PLAIN), rows, row_bytes)
        if predictor == _FLOAT_DIFFERENCES:  # of bytes, the most significant ones of a row first
            steps = raw.reshape(rows, -1, bands).cumsum(axis=1, dtype=np.uint8)
            raw = np.ascontiguousarray(steps.reshape(rows, dtype.itemsize, -1).transpose(0, 2, 1))
            dtype = dtype.newbyteorder(">")
        values = raw.reshape(-1).view(dtype).reshape(rows, columns, bands)
        return values.cumsum(axis=1, dtype=dtype.newbyteorder("=")) if predictor == _DIFFERENCES else values


def pages(file: io.BufferedIOBase) -> list[Page]:
    """Return the pages of a TIFF file, without the smaller copies that some have; nothing is decoded.

    Raises:
        OSError, SyntaxError, ValueError or struct.error if the file is damaged.
    """
    return [page for page in _pages(file) if not page._one(_SUBFILE, 0) & _OVERVIEW]


def _pages(file: io.BufferedIOBase) -> Iterator[Page]:
    file.seek(0)
    header = file.read(8)
    header += file.read(8) if header[2:3] == b"+" or header[3:4] == b"+" else b""
    directory = ImageFileDirectory_v2(header)
    seen: set[int] = set()
    while directory.next and directory.next not in seen and len(seen) < MOST_PAGES:
        seen.add(directory.next)
        file.seek(directory.next)
        directory.next = _UNREAD
        directory.load(cast("IO[bytes]", file))
        if directory.next == _UNREAD:  # Pillow warns only, and what follows would be missing without a word
            raise OSError("its list of pages is not whole")
        yield Page(dict(directory), "<" if header.startswith(b"II") else ">")


def _unpacked(content: bytes, compression: int, rows: int, row_bytes: int) -> np.ndarray:
    """Return the bytes (rows, row_bytes) of a strip or tile."""
    if compression == _PLAIN:
        content = content[: rows * row_bytes]
        if len(content) < rows * row_bytes:
            raise OSError("a strip or tile is not whole")
        return np.frombuffer(content, np.uint8).reshape(rows, row_bytes)
    if compression not in _COMPRESSIONS:
        raise ImageError(f"compression {compression}; expected none, LZW, Deflate, PackBits or Zstandard")
    # Pillow's libtiff unpacks it as a grey picture of as many bytes.
    fields = {
        _WIDTH: row_bytes, _HEIGHT: rows, _BITS: 8, _COMPRESSION: compression, _PHOTOMETRIC: 1,
        _STRIPS: 8 + 2 + 9 * 12 + 4, _BANDS: 1, _ROWS: rows, _STRIP_BYTES: len(content),
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields.items()))
    alone = struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + entries + struct.pack("<I", 0) + content
    with open_of_any_size(io.BytesIO(alone)) as image:
        decode(image)
        return np.array(image)


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    turned = values.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else values
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned
