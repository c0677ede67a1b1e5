"""Voxels of a file: counted before they are read, read to the last byte that the header states, and as float32 of three axes."""

import math
import zlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from camtool.errors import ImageError, times
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import Geometry
from camtool.words import one_line, shortened

_CHUNK = 1 << 20  # bytes that are decompressed at once
_SLAB = 1 << 22  # voxels that are rescaled in float64 at once


@runtime_checkable
class Stream(Protocol):
    """A source of bytes, which may be decompressed on the way."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" at the end."""


class Inflated:
    """A zlib stream as a source of bytes, decompressed no further than it is read."""

    def __init__(self, file: Stream) -> None:
        self._file = file
        self._unpacked = zlib.decompressobj()

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" at the end; zlib.error if the stream is damaged."""
        while not self._unpacked.eof:
            packed = self._unpacked.unconsumed_tail or self._file.read(_CHUNK)
            content = self._unpacked.decompress(packed, size)
            if content:
                return content
            if not packed:
                raise zlib.error("the compressed voxels are not whole")
        return b""


def quoted(text: str) -> str:
    """Return a text of a file in quotes, in one line and shortened."""
    return f"'{shortened(one_line(text))}'"


def read_voxels(file: Stream, shape: Sequence[int], dtype: np.dtype[Any], name: str) -> np.ndarray:
    """Return an array of this shape, the first axis fastest in the file, and check that nothing follows it.

    Raises:
        ImageError: if the file has fewer bytes than that, or more.
    """
    expected = math.prod(shape) * dtype.itemsize
    content, count = bytearray(expected), 0
    while count < expected and (part := file.read(min(_CHUNK, expected - count))):
        content[count : count + len(part)] = part
        count += len(part)
    if count < expected:
        raise ImageError(
            f"'{name}' has {count} bytes of voxels; expected {expected}, as its header says by {times(shape)} of {dtype.name}. "
            "It is truncated or damaged; copy it again."
        )
    if file.read(1):
        raise ImageError(
            f"'{name}' has more than {expected} bytes of voxels, which its header says by {times(shape)} of {dtype.name}. "
            "Header and data do not belong together."
        )
    return np.frombuffer(content, dtype).reshape(shape, order="F")


def skip(file: Stream, count: int) -> None:
    """Read on by so many bytes."""
    while count > 0 and (part := file.read(min(_CHUNK, count))):
        count -= len(part)


def check_voxels(shape: Sequence[int], dtype: np.dtype[Any], name: str, reading: VolumeReading) -> None:
    """Raise ImageError if voxels of this type are no plain numbers, their sizes are none, or they take too much memory."""
    if dtype.kind not in "buif":
        what = "complex" if dtype.kind == "c" else "colour" if dtype.names else str(dtype)
        raise ImageError(
            f"'{name}' has {what} voxels; expected one number a voxel. Save a channel, or the magnitude, as a file of its own."
        )
    if any(side < 1 for side in shape):
        raise ImageError(f"'{name}' states the size {times(shape)}; expected at least one voxel along each axis.")
    needed = math.prod(map(int, shape)) * (dtype.itemsize + 4)
    if needed > reading.max_bytes:
        raise ImageError(
            f"'{name}' states the size {times(shape)} and takes {needed / 1e9:.4g} GB; expected at most {reading.max_bytes / 1e9:.4g} GB. "
            f"Crop or resample it first, or allow more by max_bytes={needed}."
        )


def only_spatial(values: np.ndarray, others: Sequence[int], name: str, reading: VolumeReading) -> np.ndarray:
    """Return the three spatial axes of an array, at the asked entry of the others.

    Args:
        others: the axes that are not spatial; of these, those of one entry need no number.

    Raises:
        ImageError: if the array has other than three spatial axes, or several volumes of which none, or a missing one, is asked for.
    """
    if values.ndim - len(others) != 3:
        raise ImageError(f"'{name}' has {values.ndim - len(others)} axes in space, {times(values.shape)}; expected three.")
    long = [axis for axis in others if values.shape[axis] > 1]
    numbers = reading.numbers
    if numbers is None and long:
        held = " and ".join(f"{values.shape[axis]} along axis {axis}" for axis in long)
        example = 0 if len(long) == 1 else (0,) * len(long)
        raise ImageError(
            f"'{name}' has {values.ndim} axes, {times(values.shape)}; expected three. Say which of its volumes is read, "
            f"{held}: volume={example} (--volume{' 0' * len(long)})."
        )
    if not long and numbers is not None and not any(numbers):
        numbers = ()  # the first of one
    if numbers is not None and len(numbers) != len(long):
        raise ImageError(f"'{name}' is {times(values.shape)}; expected {len(long)} numbers of volumes, got volume={numbers}.")
    chosen = dict(zip(long, numbers or (), strict=True))
    for axis, number in chosen.items():
        if number >= values.shape[axis]:
            raise ImageError(
                f"'{name}' has {values.shape[axis]} volumes along axis {axis}; expected one of 0 to {values.shape[axis] - 1}, got {number}."
            )
    return values[tuple(chosen.get(axis, 0) if axis in others else slice(None) for axis in range(values.ndim))]


def as_float32(values: np.ndarray, name: str, reading: VolumeReading, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Return slope * values + intercept as float32, computed in float64 a slab after the other.

    Raises:
        ImageError: if a value is infinite, or too large for float32, or NaN where none are allowed.
    """
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ImageError(f"'{name}' states the slope {slope} and intercept {intercept} of its values; expected finite numbers.")
    out = np.empty(values.shape, np.float32, order="F")
    depth = values.shape[2]
    slab = max(1, _SLAB // max(1, math.prod(values.shape[:2])))
    missing = 0
    for start in range(0, depth, slab):
        part = values[..., start : start + slab]
        with np.errstate(over="ignore", invalid="ignore"):
            exact = part if (slope, intercept) == (1.0, 0.0) else part.astype(np.float64) * slope + intercept
            out[..., start : start + slab] = exact
        written = out[..., start : start + slab]
        if np.isinf(written).any():
            of = "are infinite" if (slope, intercept) == (1.0, 0.0) else f"are infinite by its slope {slope:g} and intercept {intercept:g}"
            raise ImageError(f"'{name}' has values that {of}, or too large for float32; expected finite numbers.")
        nan = np.isnan(written)
        missing += int(nan.sum())
        if reading.nan_as is not None:
            written[nan] = reading.nan_as
    if missing and reading.nan_as is None:
        share = missing / out.size
        raise ImageError(
            f"'{name}' has {missing} voxels that are NaN, {share:.2%} of all; expected numbers. "
            "Say what stands in their place: nan_as=0 (--nan-as 0) for those outside of what was measured."
        )
    return out


def located(affine: np.ndarray, name: str) -> Geometry:
    """Return the geometry that a file states; ImageError with its name if there is none."""
    try:
        return Geometry(affine)
    except ImageError as error:
        raise ImageError(f"'{name}' states no usable geometry. {error}") from error


def check_spacing_is_stated(spacing: Sequence[float] | None, name: str, reading: VolumeReading) -> None:
    """Raise ImageError if a spacing is given for a file that states its own."""
    if spacing is not None and reading.spacing is not None:
        stated = " x ".join(f"{size:g}" for size in spacing)
        raise ImageError(f"'{name}' states its own spacing, {stated} mm; expected spacing for TIFF and .npy files only.")
