"""Pictures of any number of bands (infrared, X-ray, 13 bands of a satellite): from TIFF, .npy or a file a band, in full precision."""

import io
import os
import struct
import tokenize
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from camtool.errors import ImageError, times, warn
from camtool.io.pillow import Reading, check_bytes, check_frame, check_size, decode, opened
from camtool.io.tiff import STARTS, pages

Bands: TypeAlias = Float32[np.ndarray, "h w c"]
"""A picture of c bands, upright, with values in [0, 1] unless the file is of floating point and has no range."""

NPY = ".npy"
"""Suffix of an array that numpy saved."""

_NPY_START = b"\x93NUMPY"
_DARK = 0.25  # of a picture's brightest 2 %; it is stretched to be seen
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    MemoryError,
    tokenize.TokenError,
)


def read_bands(files: Sequence[Path] | io.BytesIO, name: str, reading: Reading) -> Bands:
    """Return the bands of a picture that `reading.channels` chooses: of one file those numbered, of several files one of each.

    Args:
        files: the file, or one for each channel; or a file's content.
        name: what the picture is called in messages.

    Raises:
        ImageError: if a file is missing, damaged, of another format, has no such band, or takes too much memory.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "scene.npy"
        ...     np.save(path, np.arange(192, dtype=np.uint16).reshape(8, 6, 4))
        ...     bands = read_bands([path], "scene.npy", Reading(channels=(3, 0), value_range=(0.0, 191.0)))
        >>> bands.shape, float(bands.max())
        ((8, 6, 2), 1.0)
    """
    if isinstance(files, io.BytesIO) or len(files) == 1:
        file = files if isinstance(files, io.BytesIO) else files[0]
        return chosen_bands(_values(file, name, reading), name, reading)
    layers = [_values(file, str(file), reading) for file in files]
    for file, layer in zip(files, layers, strict=True):
        if layer.shape[2] != 1:
            raise ImageError(f"'{file}' has {layer.shape[2]} bands; expected one band in each of the {len(files)} files of a picture.")
        if layer.shape != layers[0].shape:
            sizes = " and ".join(f"{times(other.shape[1::-1])} in '{path}'" for path, other in ((files[0], layers[0]), (file, layer)))
            raise ImageError(f"The bands of '{name}' are of several sizes, {sizes}; expected one. Resample them first.")
    return np.concatenate([_scaled(layer, str(file), reading) for file, layer in zip(files, layers, strict=True)], axis=2)


def chosen_bands(values: np.ndarray, name: str, reading: Reading) -> Bands:
    """Return the bands of an array (h, w, bands) of any type that `reading.channels` chooses, all for names; ImageError if one lacks."""
    channels, count = reading.channels or (), values.shape[2]
    if any(isinstance(channel, str) for channel in channels):
        if count != len(channels):
            raise ImageError(f"Picture '{name}' has {count} bands; expected one for each channel: {', '.join(map(str, channels))}.")
        return _scaled(values, name, reading)
    numbers = [int(channel) for channel in channels]
    if max(numbers) >= count:
        has = "one band" if count == 1 else f"{count} bands"
        raise ImageError(
            f"Picture '{name}' has {has}; expected one with a band {max(numbers)}, counted from 0, which preprocess.channels asks for."
        )
    return _scaled(values[..., numbers], name, reading)


def view_of(bands: Bands, shown: Sequence[int]) -> UInt8[np.ndarray, "h w 3"]:
    """Return the bands as a picture to be looked at: three as red, green and blue, or one in grey; a dark picture is stretched."""
    values = bands[..., list(shown)]
    low, high = np.percentile(values, (2, 98)) if values.min() < 0 or values.max() > 1 or np.percentile(values, 98) < _DARK else (0, 1)
    levels = ((values - low) / max(float(high - low), 1e-12)).clip(0, 1) * 255
    return np.repeat(np.round(levels).astype(np.uint8), 3 // levels.shape[2], axis=2)


def all_bands(file: Path | io.BytesIO, name: str, reading: Reading) -> np.ndarray | None:
    """Return the values (h, w, bands) of a TIFF or .npy file in their own type, upright; None for other formats.

    Raises:
        ImageError: if it is damaged, compressed in a way that is not read, has no such frame, or takes too much memory.
    """
    content = io.BytesIO(file.getvalue()) if isinstance(file, io.BytesIO) else file.open("rb")
    with content:
        start = content.read(len(_NPY_START))
        try:
            if start == _NPY_START:
                check_frame(name, 1, reading.frame)
                return _array(content, name, reading)
            return _tiff(content, name, reading) if start[:4] in STARTS else None
        except ImageError as error:
            raise error if name in str(error) else ImageError(f"Picture '{name}' cannot be read: {error}.") from error
        except _DAMAGE as error:
            raise ImageError(f"Picture '{name}' cannot be read; the file is truncated or damaged: {error}.") from error


def _values(file: Path | io.BytesIO, name: str, reading: Reading) -> np.ndarray:
    if isinstance(file, Path):
        if not os.path.isfile(file):
            raise ImageError(f"No picture '{file}'.")
        if file.stat().st_size == 0:
            raise ImageError(f"Picture '{name}' is empty (0 bytes); expected an image file.")
    values = all_bands(file, name, reading)
    return _of_pillow(file, name, reading) if values is None else values


def _array(content: Any, name: str, reading: Reading) -> np.ndarray:
    content.seek(0)
    version = np.lib.format.read_magic(content)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = header(content)
    if dtype.hasobject or dtype.kind not in "buif" or len(shape) not in (2, 3):  # objects would run code
        raise ImageError(f"an array of shape {shape} and type {dtype}; expected numbers (h, w) or (h, w, bands)")
    count = int(np.prod(shape, dtype=object))
    check_bytes(name, None, 2 * count * dtype.itemsize)
    raw = content.read(count * dtype.itemsize)
    values = np.frombuffer(raw, dtype, count=count).reshape(shape, order="F" if by_columns else "C")
    return checked_array(values, name, reading)


def checked_array(values: np.ndarray, name: str, reading: Reading) -> np.ndarray:
    """Return an array as (h, w, bands): one (h, w) has one band, and bands in front are put last where they are the fewest.

    Raises:
        ImageError: if it has other axes, no numbers, or no usable size.
    """
    if values.ndim not in (2, 3) or values.dtype.kind not in "buif" or 0 in values.shape:
        raise ImageError(
            f"'{name}' is an array of shape {tuple(values.shape)} and type {values.dtype}; expected numbers (h, w) or (h, w, bands)."
        )
    values = values[..., None] if values.ndim == 2 else values
    values = values.transpose(1, 2, 0) if values.shape[0] < min(values.shape[1:]) else values
    check_size(name, values.shape[1], values.shape[0], reading.max_pixels)
    return values.astype(np.uint8) * 255 if values.dtype.kind == "b" else values


def _tiff(content: Any, name: str, reading: Reading) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on damaged tags; what is needed of them is checked
        found = pages(content)
    if not found:
        raise OSError("it has no pages")
    first = found[0]
    alike = all((page.size, page.bands) == (first.size, 1) and page.dtype == first.dtype for page in found)
    if reading.frame is None and len(found) > 1 and alike and reading.channels is not None:  # a page a band
        chosen = found
    else:
        check_frame(name, len(found), reading.frame)
        chosen = [found[reading.frame or 0]]
        if reading.frame is None and len(found) > 1:
            warn(several_frames(name, len(found)))
    width, height = chosen[0].size
    check_size(name, width, height, reading.max_pixels)
    check_bytes(name, (width, height), sum(page.most_bytes for page in chosen))
    return np.concatenate([page.decode(content) for page in chosen], axis=2)


def several_frames(name: str, count: int) -> str:
    """Return the remark on a file of several frames of which none was chosen."""
    return f"Picture '{name}' has {count} frames or pages; frame 0 is read. --frame N reads another, 0 to {count - 1}."


def _of_pillow(file: Path | io.BytesIO, name: str, reading: Reading) -> np.ndarray:
    try:
        with opened(file, name, reading) as (image, _):
            count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            check_frame(name, count, reading.frame)
            if count > 1 and reading.frame is None:
                warn(several_frames(name, count))
            if ";16" in str(getattr(image, "tile", "")) and len(image.getbands()) > 1:  # of which Pillow keeps the upper 8
                raise ImageError(f"Picture '{name}' is colour of 16 bits, of which 8 are read; expected it as TIFF or .npy.")
            image.seek(reading.frame or 0)
            decode(image)
            upright = ImageOps.exif_transpose(image)
            values = np.asarray(upright.convert("RGBA" if "transparency" in upright.info else "RGB") if upright.mode == "P" else upright)
    except UnidentifiedImageError as error:
        raise ImageError(f"'{name}' is not an image; expected TIFF, {NPY} or a picture.") from error
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise ImageError(f"Picture '{name}' cannot be read; the file is truncated or damaged: {error}.") from error
    return values[..., None] if values.ndim == 2 else values


def _scaled(values: np.ndarray, name: str, reading: Reading) -> Bands:
    """Return the values by the range, or of unsigned integers by what their type can hold, in [0, 1]; floating point as it is."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if reading.value_range is not None:
        low, high = reading.value_range
        exact: np.ndarray = values.astype(np.float64 if size > 2 else np.float32)
        scaled = ((exact - low) / (high - low)).clip(0, 1)
    elif kind == "u" and size <= 2:
        scaled = values.astype(np.float32) / np.iinfo(values.dtype).max
    elif kind == "f":
        scaled = values
    else:
        raise ImageError(
            f"Picture '{name}' has numbers of the type {values.dtype.name}, which has no usual range; expected value_range, as "
            "preprocess=dict(value_range=(0, 10000)) in the model of the config, or --value-range 0 10000."
        )
    return np.nan_to_num(scaled.astype(np.float32))  # no data
