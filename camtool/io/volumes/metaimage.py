"""MetaImage files (.mha, .mhd), in and out: a text header of ITK's coordinates, towards left, posterior and superior."""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camtool.errors import ImageError
from camtool.io.volumes.text_headers import Form, Stated, VoxelData, digits
from camtool.io.volumes.volume import TURN, Geometry
from camtool.io.volumes.voxels import quoted

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4",
    "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MATRIX, _ORIGIN, _SPACING = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Origin", "Position"), ("ElementSpacing",)
_GEOMETRY = (*_MATRIX, *_ORIGIN, "CenterOfRotation", "AnatomicalOrientation", *_SPACING, "ElementSize")
_DATA = "ElementDataFile"
_MOST_AXES = 7


def starts_metaimage(start: bytes) -> bool:
    """Return whether a file starts with a MetaImage header."""
    return start.startswith((b"ObjectType", b"NDims")) or f"\n{_DATA}".encode() in start


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
        **(METAIMAGE.place_words(header, geometry, values.shape) or _place_fields(geometry)),
        "DimSize": " ".join(map(str, values.shape)),
        "ElementType": "MET_FLOAT",
        _DATA: "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode("latin-1") + content


def _place_fields(geometry: Geometry | None) -> Mapping[str, str]:
    """Return the fields that say where a volume lies."""
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


def _stated(fields: Mapping[str, str], name: str) -> Stated:
    axes = _whole(fields, "NDims", name)
    if not 3 <= axes <= _MOST_AXES:
        raise ImageError(f"'{name}' has {axes} axes; expected three in space.")
    sizes = [_whole_number(size, "DimSize", name) for size in _numbers(fields, "DimSize", axes, name)]
    channels = _whole(fields, "ElementNumberOfChannels", name, 1)
    first = 1 if channels != 1 else 0
    slope, intercept = (
        _number(fields, f"ElementToIntensityFunction{part}", name, default) for part, default in (("Slope", 1.0), ("Offset", 0.0))
    )
    return Stated(
        shape=(*([channels] if first else []), *sizes),
        dtype=_dtype(fields, name),
        others=[*range(first), *range(first + 3, first + axes)],
        affine=_affine(fields, axes, name),
        data=_data(fields, name),
        slope=slope,
        intercept=intercept,
        place={key: value for key, value in fields.items() if key in _GEOMETRY} if axes == 3 else {},
    )


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


def _data(fields: Mapping[str, str], name: str) -> VoxelData:
    where = fields[_DATA]
    packing = "zlib" if _true(fields, "CompressedData", False) else "raw"
    skipped = _whole(fields, "HeaderSize", name, 0)
    if where.upper() == "LOCAL":
        return VoxelData(packing=packing)
    if skipped == -1 and packing == "raw":
        return VoxelData(file=where, at_end=True)
    if skipped < 0:
        raise ImageError(f"'{name}' states HeaderSize = {skipped}; expected 0 or more.")
    return VoxelData(file=where, packing=packing, packed=skipped)


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


METAIMAGE = Form("MetaImage", _DATA, _fields, _stated)
"""Files .mha, and .mhd with that of their voxels beside them."""
