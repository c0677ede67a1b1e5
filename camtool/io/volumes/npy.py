"""Arrays that numpy saved (.npy): axes as they are in the array, (x, y, z); their spacing is given."""

import tokenize
from pathlib import Path

import numpy as np

from camtool.errors import ImageError, times
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import Geometry, Volume
from camtool.io.volumes.voxels import as_float32, check_voxels, only_spatial, read_voxels

START = b"\x93NUMPY"
"""First bytes of a file."""


def read_npy(path: Path, reading: VolumeReading) -> Volume:
    """Return the volume of a .npy file; of one with more than three axes that at `volume` along `volume_axis`.

    Raises:
        ImageError: if it is damaged, holds objects (which are programs, and never run), or has no three axes as asked for.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = header(file)
            if dtype.hasobject:
                raise ImageError(f"'{name}' holds objects, which are programs and are not run; expected an array of numbers.")
            check_voxels(shape, dtype, name, reading)
            stored = shape if by_columns else shape[::-1]  # the first axis is the fastest, or the last one
            raw = read_voxels(file, stored, dtype, name)
    except ImageError:
        raise
    except (OSError, ValueError, TypeError, SyntaxError, tokenize.TokenError) as error:  # numpy reads the header as Python's words
        raise ImageError(f"'{name}' cannot be read as .npy; it is truncated or damaged: {str(error).rstrip('.')}.") from error
    values = raw if by_columns else raw.T
    values = only_spatial(values, _others(shape, name, reading), name, reading)
    return Volume(
        as_float32(values, name, reading),
        None if reading.spacing is None else Geometry.of_spacing(reading.spacing, oriented=False),
        name,
        path.suffix.lower(),
    )


def _others(shape: tuple[int, ...], name: str, reading: VolumeReading) -> tuple[int, ...]:
    """Return the axes that number volumes: those asked for, and those of one entry behind the third."""
    others = {axis for axis in range(3, len(shape)) if shape[axis] == 1} if not reading.axes else set(reading.axes)
    if max(others, default=0) >= len(shape):
        raise ImageError(
            f"'{name}' is an array of {times(shape)}; expected volume_axis (--volume-axis) from 0 to {len(shape) - 1}, got "
            f"{sorted(others)}."
        )
    if len(shape) - len(others) > 3:
        raise ImageError(
            f"'{name}' is an array of {len(shape)} axes, {times(shape)}; expected three. Say which axis numbers its volumes, and which of "
            "them is read: volume_axis=0, volume=0 (--volume-axis 0 --volume 0)."
        )
    return tuple(sorted(others))
