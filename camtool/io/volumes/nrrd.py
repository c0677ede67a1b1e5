"""NRRD files (.nrrd, .nhdr), in and out: a text header with the space, the step along each axis, and the first voxel's place."""

import gzip
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from camtool.errors import ImageError
from camtool.io.volumes.text_headers import Form, Stated, VoxelData, digits
from camtool.io.volumes.volume import TURN, Geometry
from camtool.io.volumes.voxels import quoted

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
        **(NRRD.place_words(header, geometry, values.shape) or _place_fields(geometry)),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip",
    }
    lines = "".join(f"{key}: {value}\n" for key, value in fields.items())
    content = gzip.compress(values.astype("<f4").tobytes(order="F"), compresslevel=6, mtime=0)
    return f"NRRD0004\n{lines}\n".encode("latin-1") + content


def _place_fields(geometry: Geometry | None) -> Mapping[str, str]:
    """Return the fields that say where a volume lies."""
    if geometry is None:
        return {}
    affine = TURN @ geometry.affine + 0.0  # without a sign of zero
    vectors = [f"({','.join(map(digits, affine[:3, column]))})" for column in range(4)]
    return {"space": _LPS, "space directions": " ".join(vectors[:3]), "space origin": vectors[3]}


def _kept(fields: Mapping[str, str], axes: int) -> Mapping[str, str]:
    """Return what is kept for the map, an array of the three axes in space; {} where that is not to be had by leaving out words."""
    if "space directions" not in fields:
        return {key: value for key, value in fields.items() if key in _PLAIN_FIELDS} if axes == 3 else {}
    kept = {key: value for key, value in fields.items() if key in _SPACE_FIELDS}
    if axes > 3:
        kept["space directions"] = " ".join(match[0] for match in _VECTOR.finditer(fields["space directions"]) if match[1])
    return kept


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


def _stated(fields: Mapping[str, str], name: str) -> Stated:
    sizes = [_whole(word, "sizes", name) for word in fields.get("sizes", "").split()]
    if len(sizes) != _whole(fields.get("dimension", ""), "dimension", name):
        raise ImageError(f"'{name}' states {fields.get('dimension')} axes and the sizes {sizes}; expected as many. It is damaged.")
    dtype, others = _dtype(fields, name), _not_spatial(fields, len(sizes), name)
    return Stated(
        shape=sizes,
        dtype=dtype,
        others=others,
        affine=_affine(fields, others, len(sizes), name),
        data=_data(fields, name),
        place=_kept(fields, len(sizes)),
    )


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


def _data(fields: Mapping[str, str], name: str) -> VoxelData:
    packing = _ENCODINGS.get(fields.get("encoding", "").lower())
    if packing is None:
        raise ImageError(f"'{name}' has the encoding {quoted(fields.get('encoding', ''))}; expected raw, gzip or bzip2. Convert it first.")
    file = fields.get("data file", fields.get("datafile"))
    lines = _whole(fields.get("line skip", fields.get("lineskip", "0")), "line skip", name)
    skipped = _whole(fields.get("byte skip", fields.get("byteskip", "0")), "byte skip", name)
    at_end = skipped == -1 and packing == "raw"
    if skipped < 0 and not at_end:
        raise ImageError(f"'{name}' states 'byte skip: {skipped}'; expected 0 or more, or -1 of raw voxels.")
    return VoxelData(file=file, packing=packing, lines=lines, unpacked=max(skipped, 0), at_end=at_end)


def _whole(text: str, key: str, name: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ImageError(f"'{name}' states {key}: {quoted(text)}; expected whole numbers. It is damaged.") from error


NRRD = Form("NRRD", "", _fields, _stated)
"""Files .nrrd, and .nhdr with that of their voxels beside them."""
