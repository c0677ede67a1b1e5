"""NRRD files (.nrrd, .nhdr), in and out: a text header with the space, the step along each axis, and the first voxel's place."""

import bz2
import gzip
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from camtool.errors import ImageError
from camtool.io.volumes.metaimage import TURN, digits
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import Geometry, Volume
from camtool.io.volumes.voxels import (
    as_float32,
    beside,
    check_spacing_is_stated,
    check_voxels,
    header_lines,
    located,
    only_spatial,
    quoted,
    read_voxels,
    skip,
)

MARK = b"NRRD000"
"""Start of a file."""

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_CODES = {name: code for code, names in _TYPES.items() for name in names}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
# Towards right, anterior and superior. Spaces of a scanner's own axes are read as ITK reads them, as left, posterior, superior.
_LPS = "left-posterior-superior"
_SPACES = {
    "right-anterior-superior": np.eye(4), "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1, 1, 1]), "las": np.diag([-1.0, 1, 1, 1]),
    _LPS: TURN, "lps": TURN,
    "scanner-xyz": TURN, "3d-right-handed": TURN, "3d-left-handed": TURN,
}  # fmt: skip
_SPACE_FIELDS = ("space", "space dimension", "space units", "space directions", "space origin", "measurement frame")
_PLAIN_FIELDS = ("spacings", "centers", "centerings", "units", "axis mins", "axis maxs", "axismins", "axismaxs")
_COLOURS = ("complex", "rgb-color", "hsv-color", "xyz-color", "rgba-color")
_NOT_SPATIAL = ("list", "time", "vector", "point", "normal", "stub", "scalar", "covariant-vector", "quaternion", "none", "???")
_VECTOR = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)


@dataclass(frozen=True)
class NrrdHeader:
    """The fields of a header that say where voxels lie, as they stand in the file."""

    fields: Mapping[str, str]


def read_nrrd(path: Path, reading: VolumeReading) -> Volume:
    """Return the volume of a .nrrd file, or of a .nhdr file and that of its voxels beside it.

    Raises:
        ImageError: if it is damaged, its voxels lie outside of its folder, or it has no volume of three axes in space as asked for.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            fields = _fields(header_lines(cast(Any, file), name), name)
            sizes = [_whole(word, "sizes", name) for word in fields.get("sizes", "").split()]
            if len(sizes) != _whole(fields.get("dimension", ""), "dimension", name):
                raise ImageError(f"'{name}' states {fields.get('dimension')} axes and the sizes {sizes}; expected as many. It is damaged.")
            dtype = _dtype(fields, name)
            check_voxels(sizes, dtype, name, reading)
            others = _not_spatial(fields, len(sizes), name)
            affine = _affine(fields, others, len(sizes), name)
            geometry = None if affine is None else located(affine, name)
            check_spacing_is_stated(geometry.spacing if geometry else None, name, reading)
            raw = _voxels(path, file, fields, sizes, dtype)
    except ImageError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ImageError(f"'{name}' cannot be read as NRRD; it is truncated or damaged: {str(error).rstrip('.')}.") from error
    values = as_float32(only_spatial(raw, others, name, reading), name, reading)
    return Volume(values, geometry, name, path.suffix.lower(), _geometry_header(fields, len(sizes)))


def encode_nrrd(values: np.ndarray, geometry: Geometry | None, header: Any = None) -> bytes:
    """Return a volume (x, y, z) as the bytes of a .nrrd file: float32, compressed.

    Args:
        geometry: None: the file says nothing of it.
        header: of the .nrrd or .nhdr file that the volume belongs to, whose geometry is kept as it is written there, unless it states
            another.

    Example:
        >>> content = encode_nrrd(np.zeros((2, 3, 4)), Geometry.of_spacing((1, 1, 2)))
        >>> content.decode("latin-1").splitlines()[:4]
        ['NRRD0004', 'type: float', 'dimension: 3', 'sizes: 2 3 4']
    """
    fields = {
        "type": "float",
        "dimension": "3",
        "sizes": " ".join(map(str, values.shape)),
        **_geometry_fields(values.shape, geometry, header),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip",
    }
    lines = "".join(f"{key}: {value}\n" for key, value in fields.items())
    content = gzip.compress(values.astype("<f4").tobytes(order="F"), compresslevel=6, mtime=0)
    return f"NRRD0004\n{lines}\n".encode("latin-1") + content


def _geometry_fields(shape: Sequence[int], geometry: Geometry | None, header: Any) -> Mapping[str, str]:
    if isinstance(header, NrrdHeader):
        affine = _affine(header.fields, (), 3, "header")
        same = affine is None if geometry is None else affine is not None and Geometry(affine).distance(geometry, shape) < 1e-4
        if same:
            return header.fields
    if geometry is None:
        return {}
    affine = TURN @ geometry.affine + 0.0  # without a sign of zero
    vectors = [f"({','.join(map(digits, affine[:3, column]))})" for column in range(4)]
    return {"space": _LPS, "space directions": " ".join(vectors[:3]), "space origin": vectors[3]}


def _geometry_header(fields: Mapping[str, str], axes: int) -> NrrdHeader | None:
    """Return what is kept for the map, an array of the three axes in space; None where that is not to be had by leaving out words."""
    if "space directions" not in fields:
        return NrrdHeader({key: value for key, value in fields.items() if key in _PLAIN_FIELDS}) if axes == 3 else None
    kept = {key: value for key, value in fields.items() if key in _SPACE_FIELDS}
    if axes > 3:
        kept["space directions"] = " ".join(match[0] for match in _VECTOR.finditer(fields["space directions"]) if match[1])
    return NrrdHeader(kept)


def _fields(lines: Sequence[str], name: str) -> dict[str, str]:
    """Return the fields of a header by name, in small letters."""
    if not lines or not lines[0].startswith(MARK.decode()):
        raise ImageError(f"'{name}' is no NRRD file; expected its first line to be NRRD0001 to NRRD0005.")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        key, sign, value = line.partition(": ")
        key = key.strip().lower()
        if not sign:
            raise ImageError(f"'{name}' has the line {quoted(line)} in its header; expected 'field: value'. It is damaged.")
        if key in fields:
            raise ImageError(f"'{name}' states '{key}' twice; expected each field once. It is damaged.")
        fields[key] = value.strip()
    return fields


def _dtype(fields: Mapping[str, str], name: str) -> np.dtype[Any]:
    code = _CODES.get(fields.get("type", "").lower())
    if code is None:
        raise ImageError(
            f"'{name}' has voxels of the type {quoted(fields.get('type', ''))}; expected one of {', '.join(n[0] for n in _TYPES.values())}."
        )
    endian = fields.get("endian", "").lower()
    if endian not in ("little", "big") and code[1] != "1":
        raise ImageError(f"'{name}' states the endian {quoted(endian)}; expected little or big.")
    return np.dtype(f"{'>' if endian == 'big' else '<'}{code}")


def _not_spatial(fields: Mapping[str, str], axes: int, name: str) -> tuple[int, ...]:
    """Return the axes that number volumes: without a direction in space or, in a file without directions, of another kind."""
    kinds = fields.get("kinds", "").lower().split()
    if any(kind in _COLOURS for kind in kinds):
        raise ImageError(
            f"'{name}' has voxels of the kind {quoted(fields['kinds'])}; expected one number a voxel. Save a channel as a file of its own."
        )
    if "space directions" in fields:
        found = _vectors(fields, "space directions", name)
        if len(found) != axes:
            raise ImageError(f"'{name}' states {len(found)} space directions of {axes} axes; expected one each.")
        return tuple(axis for axis, vector in enumerate(found) if vector is None)
    if len(kinds) == axes:
        return tuple(axis for axis, kind in enumerate(kinds) if kind in _NOT_SPATIAL or kind[:1].isdigit())
    if axes > 3:
        raise ImageError(
            f"'{name}' has {axes} axes and does not say which are in space; expected 'space directions' or 'kinds' in its header."
        )
    return ()


def _affine(fields: Mapping[str, str], others: Sequence[int], axes: int, name: str) -> np.ndarray | None:
    """Return the affine (4, 4) of the axes in space, towards right, anterior and superior; None if the header says nothing of it."""
    if "space directions" not in fields:
        words = fields.get("spacings", "").split()
        spacing = [float(word) for axis, word in enumerate(words) if axis not in others] if len(words) == axes else []
        # Which way the axes lead is not said: as ITK takes it.
        return TURN @ np.diag([*spacing, 1.0]) if len(spacing) == 3 and all(math.isfinite(size) for size in spacing) else None
    space = fields.get("space", "").lower()
    if space not in _SPACES and not (space == "" and fields.get("space dimension") == "3"):
        raise ImageError(f"'{name}' states the space {quoted(space)}; expected one of three axes: {', '.join(_SPACES)}.")
    columns = [vector for vector in _vectors(fields, "space directions", name) if vector is not None]
    origin = _vectors(fields, "space origin", name) if "space origin" in fields else [[0.0] * 3]
    if len(columns) != 3 or len(origin) != 1 or any(column is None or len(column) != 3 for column in (*columns, *origin)):
        stated = quoted(f"{fields['space directions']} from {fields.get('space origin', '')}")
        raise ImageError(f"'{name}' states the directions {stated}; expected vectors of three numbers for three axes.")
    affine = np.eye(4)
    affine[:3] = np.array([*columns, *cast("list[list[float]]", origin)]).T
    return _SPACES.get(space, TURN) @ affine


def _vectors(fields: Mapping[str, str], key: str, name: str) -> list[list[float] | None]:
    """Return the vectors of a field, None for 'none'."""
    found = [match[1] for match in _VECTOR.finditer(fields[key])]
    try:
        return [None if words is None else [float(word) for word in words.split(",")] for words in found]
    except ValueError as error:
        raise ImageError(f"'{name}' states {key}: {quoted(fields[key])}; expected vectors of numbers, (1,0,0). It is damaged.") from error


def _voxels(path: Path, file: BinaryIO, fields: Mapping[str, str], shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
    name = str(path)
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise ImageError(f"'{name}' has the encoding {quoted(fields.get('encoding', ''))}; expected raw, gzip or bzip2. Convert it first.")
    where = fields.get("data file", fields.get("datafile"))
    data_path = path if where is None else beside(path, where, name)
    with data_path.open("rb") as data:
        data.seek(file.tell() if where is None else 0)
        for _ in range(min(_whole(fields.get("line skip", fields.get("lineskip", "0")), "line skip", name), 1 << 20)):
            data.readline(1 << 20)
        skipped = _whole(fields.get("byte skip", fields.get("byteskip", "0")), "byte skip", name)
        if skipped == -1 and encoding == "raw":  # the voxels are at the file's end
            data.seek(max(0, os.path.getsize(data_path) - math.prod(shape) * dtype.itemsize))
        elif skipped < 0:
            raise ImageError(f"'{name}' states 'byte skip: {skipped}'; expected 0 or more, or -1 of raw voxels.")
        unpacked = {"raw": lambda: data, "gzip": lambda: gzip.GzipFile(fileobj=data), "bzip2": lambda: bz2.BZ2File(data)}[encoding]()
        skip(unpacked, skipped)  # of what is unpacked
        return read_voxels(unpacked, shape, dtype, str(data_path))


def _whole(text: str, key: str, name: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ImageError(f"'{name}' states {key}: {quoted(text)}; expected whole numbers. It is damaged.") from error
