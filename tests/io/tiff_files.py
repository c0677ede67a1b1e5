"""TIFF files of any number of bands, uncompressed, as remote sensing writes them."""

import struct
from pathlib import Path

import numpy as np

_KINDS = {"u": 1, "i": 2, "f": 3}
_LETTERS = {3: "H", 4: "I"}


def write_tiff(path: Path, values: np.ndarray, *, separate: bool = False, order: str = "<", tile: int = 0) -> None:
    """Write an array (h, w, bands); `separate`: one band behind the other; `tile`: the side of the tiles, 0 for a single strip."""
    height, width, bands = values.shape
    values = values.astype(values.dtype.newbyteorder(order))
    planes = [values[..., [band]] for band in range(bands)] if separate else [values]
    sections = [section for plane in planes for section in (_tiles(plane, tile) if tile else [plane.tobytes()])]
    layout = [(322, 4, [tile]), (323, 4, [tile])] if tile else [(278, 4, [height])]
    starts, lengths = (324, 325) if tile else (273, 279)
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [8 * values.dtype.itemsize] * bands),
        (259, 3, [1]),
        (262, 3, [1]),
        (277, 3, [bands]),
        (284, 3, [2 if separate else 1]),
        (339, 3, [_KINDS[values.dtype.kind]] * bands),
        *layout,
        (starts, 4, [0] * len(sections)),
        (lengths, 4, list(map(len, sections))),
    ]
    entries.sort()
    sizes = [len(numbers) * struct.calcsize(_LETTERS[kind]) for _, kind, numbers in entries]
    behind = 8 + 2 + 12 * len(entries) + 4
    data = behind + sum(size for size in sizes if size > 4)
    offsets = (data + np.cumsum([0, *map(len, sections)])[:-1]).tolist()
    directory, extra = struct.pack(f"{order}H", len(entries)), b""
    for tag, kind, numbers in entries:
        packed = struct.pack(order + _LETTERS[kind] * len(numbers), *(offsets if tag == starts else numbers))
        where = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", behind + len(extra))
        extra += packed if len(packed) > 4 else b""
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + where
    start = b"II" if order == "<" else b"MM"
    path.write_bytes(start + struct.pack(f"{order}HI", 42, 8) + directory + b"\0" * 4 + extra + b"".join(sections))


def _tiles(plane: np.ndarray, side: int) -> list[bytes]:
    height, width, _ = plane.shape
    padded = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)))
    return [padded[top : top + side, left : left + side].tobytes() for top in range(0, height, side) for left in range(0, width, side)]
