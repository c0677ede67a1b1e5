"""MetaImage files (.mha, .mhd), in and out: a text header of ITK's coordinates, towards left, posterior and superior."""

import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from camtool.errors import ImageError
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import Geometry, Volume
from camtool.io.volumes.voxels import (
    Inflated,
    as_float32,
    beside,
    check_spacing_is_stated,
    check_voxels,
    header_lines,
    located,
    only_spatial,
    quoted,
    read_voxels,
)

TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From coordinates towards left and posterior, as DICOM's and ITK's, to those towards right and anterior, or back."""

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4",
    "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MATRIX, _ORIGIN, _SPACING = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Origin", "Position"), ("ElementSpacing",)
_GEOMETRY = (*_MATRIX, *_ORIGIN, "CenterOfRotation", "AnatomicalOrientation", *_SPACING, "ElementSize")
_DATA = "ElementDataFile"
_MOST_AXES = 7


@dataclass(frozen=True)
class MetaHeader:
    """The lines of a header, by key, as they stand in the file."""

    fields: Mapping[str, str]


def starts_metaimage(start: bytes) -> bool:
    """Return whether a file starts with a MetaImage header."""
    return start.startswith((b"ObjectType", b"NDims")) or f"\n{_DATA}".encode() in start


def read_metaimage(path: Path, reading: VolumeReading) -> Volume:
    """Return the volume of a .mha file, or of a .mhd file and that of its voxels beside it.

    Raises:
        ImageError: if it is damaged, its voxels lie outside of its folder, or it has no volume of three axes in space as asked for.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            fields = _fields(header_lines(file, name, _DATA), name)
            axes = _whole(fields, "NDims", name)
            if not 3 <= axes <= _MOST_AXES:
                raise ImageError(f"'{name}' has {axes} axes; expected three in space.")
            sizes = [_whole_number(size, "DimSize", name) for size in _numbers(fields, "DimSize", axes, name)]
            channels = _whole(fields, "ElementNumberOfChannels", name, 1)
            shape = (*([channels] if channels != 1 else []), *sizes)
            dtype = _dtype(fields, name)
            check_voxels(shape, dtype, name, reading)
            affine = _affine(fields, axes, name)
            geometry = None if affine is None else located(affine, name)
            check_spacing_is_stated(geometry.spacing if geometry else None, name, reading)
            raw = _voxels(path, file, fields, shape, dtype)
    except ImageError:
        raise
    except (OSError, ValueError, zlib.error) as error:
        raise ImageError(f"'{name}' cannot be read as MetaImage; it is truncated or damaged: {str(error).rstrip('.')}.") from error
    first = 1 if channels != 1 else 0
    values = only_spatial(raw, [*range(first), *range(first + 3, len(shape))], name, reading)
    slope, intercept = (
        _number(fields, f"ElementToIntensityFunction{part}", name, default) for part, default in (("Slope", 1.0), ("Offset", 0.0))
    )
    kept = {key: value for key, value in fields.items() if key in _GEOMETRY} if axes == 3 else {}
    return Volume(as_float32(values, name, reading, slope, intercept), geometry, name, path.suffix.lower(), MetaHeader(kept))


def encode_metaimage(values: np.ndarray, geometry: Geometry | None, header: Any = None) -> bytes:
    """Return a volume (x, y, z) as the bytes of a .mha file: float32, compressed.

    Args:
        geometry: None: the file says nothing of it.
        header: of the .mha or .mhd file that the volume belongs to, whose geometry is kept as it is written there, unless it states
            another.

    Example:
        >>> content = encode_metaimage(np.zeros((2, 3, 4)), Geometry.of_spacing((1, 1, 2)))
        >>> content.decode("latin-1").splitlines()[:3]
        ['ObjectType = Image', 'NDims = 3', 'BinaryData = True']
    """
    content = zlib.compress(values.astype("<f4").tobytes(order="F"), 6)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(content)),
        **_geometry_fields(values.shape, geometry, header),
        "DimSize": " ".join(map(str, values.shape)),
        "ElementType": "MET_FLOAT",
        _DATA: "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode("latin-1") + content


def digits(number: float) -> str:
    """Return a number as text that reads as the same number."""
    return repr(int(number)) if float(number).is_integer() and abs(number) < 1e15 else repr(float(number))


def _geometry_fields(shape: Sequence[int], geometry: Geometry | None, header: Any) -> Mapping[str, str]:
    if isinstance(header, MetaHeader) and header.fields:
        affine = _affine(header.fields, 3, "header")
        same = affine is None if geometry is None else affine is not None and Geometry(affine).distance(geometry, shape) < 1e-4
        if same:
            return header.fields
    if geometry is None:
        return {}
    affine = TURN @ geometry.affine
    directions = affine[:3, :3] / np.asarray(geometry.spacing)
    return {
        "TransformMatrix": " ".join(map(digits, directions.T.ravel() + 0.0)),  # + 0.0: without a sign of zero
        "Offset": " ".join(map(digits, affine[:3, 3] + 0.0)),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": " ".join(map(digits, geometry.spacing)),
    }


def _fields(lines: Sequence[str], name: str) -> dict[str, str]:
    pairs = [(key.strip(), value.strip()) for key, sign, value in (line.partition("=") for line in lines) if sign]
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ImageError(f"'{name}' states a field of its header twice; expected each once. It is damaged.")
    if _DATA not in fields:
        raise ImageError(f"'{name}' has no {_DATA}; expected a MetaImage header. It is truncated or damaged.")
    if fields.get("ObjectType", "Image") != "Image":
        raise ImageError(f"'{name}' holds {quoted(fields['ObjectType'])}; expected an Image.")
    if not _true(fields, "BinaryData", True):
        raise ImageError(f"'{name}' has voxels as text; expected binary ones. Convert it first.")
    return fields


def _affine(fields: Mapping[str, str], axes: int, name: str) -> np.ndarray | None:
    """Return the affine (4, 4) of the first three axes, towards right, anterior and superior; None if the header says nothing of it."""
    key = {part: next((key for key in keys if key in fields), None) for part, keys in (("matrix", _MATRIX), ("origin", _ORIGIN))}
    spacing_key = next((key for key in ("ElementSpacing", "ElementSize") if key in fields), None)
    if spacing_key is None and not any(key.values()):
        return None
    spacing = _numbers(fields, spacing_key, axes, name) if spacing_key else [1.0] * axes
    matrix = np.array(_numbers(fields, key["matrix"], axes * axes, name)).reshape(axes, axes).T if key["matrix"] else np.eye(axes)
    origin = _numbers(fields, key["origin"], axes, name) if key["origin"] else [0.0] * axes
    if min(spacing) <= 0:
        raise ImageError(f"'{name}' states the spacing {spacing}; expected sizes above 0.")
    if matrix[:3, 3:].any() or matrix[3:, :3].any():
        raise ImageError(f"'{name}' has axes that turn space into another axis; expected three in space, and the others apart.")
    affine = np.eye(4)
    affine[:3, :3] = matrix[:3, :3] * spacing[:3]
    affine[:3, 3] = origin[:3]
    return TURN @ affine


def _voxels(path: Path, file: BinaryIO, fields: Mapping[str, str], shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
    name, where = str(path), fields[_DATA]
    packed = _true(fields, "CompressedData", False)
    skipped = _whole(fields, "HeaderSize", name, 0)
    local = where.upper() == "LOCAL"
    data_path = path if local else beside(path, where, name)
    with data_path.open("rb") as data:
        if local:
            data.seek(file.tell())
        elif skipped == -1 and not packed:  # the voxels are at the file's end
            data.seek(max(0, os.path.getsize(data_path) - math.prod(shape) * dtype.itemsize))
        elif skipped > 0:
            data.seek(skipped)
        elif skipped < 0:
            raise ImageError(f"'{name}' states HeaderSize = {skipped}; expected 0 or more.")
        return read_voxels(Inflated(data) if packed else data, shape, dtype, str(data_path))


def _dtype(fields: Mapping[str, str], name: str) -> np.dtype[Any]:
    kind = fields.get("ElementType", "")
    if kind not in _TYPES:
        raise ImageError(f"'{name}' has voxels of the type {quoted(kind)}; expected one of {', '.join(_TYPES)}.")
    large_first = _true(fields, "BinaryDataByteOrderMSB", _true(fields, "ElementByteOrderMSB", False))
    return np.dtype(f"{'>' if large_first else '<'}{_TYPES[kind]}")


def _true(fields: Mapping[str, str], key: str, default: bool) -> bool:
    return fields[key][:1].upper() in ("T", "1", "Y") if key in fields else default


def _numbers(fields: Mapping[str, str], key: str, count: int, name: str) -> list[float]:
    words = fields.get(key, "").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ImageError(f"'{name}' states {key} = {quoted(fields.get(key, ''))}; expected {count} finite numbers. It is damaged.")
    return numbers


def _number(fields: Mapping[str, str], key: str, name: str, default: float) -> float:
    return _numbers(fields, key, 1, name)[0] if key in fields else default


def _whole(fields: Mapping[str, str], key: str, name: str, default: int | None = None) -> int:
    return default if key not in fields and default is not None else _whole_number(_numbers(fields, key, 1, name)[0], key, name)


def _whole_number(number: float, key: str, name: str) -> int:
    if not number.is_integer():
        raise ImageError(f"'{name}' states {key} = {number}; expected a whole number.")
    return int(number)
