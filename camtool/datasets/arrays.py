"""Arrays of a data set, channels last, as pictures, volumes and signals."""

import numpy as np

from camtool.errors import DataError, times
from camtool.io.images import Picture
from camtool.io.signals import Signal, SignalReading
from camtool.io.volumes import Geometry, Volume, VolumeReading


def as_picture(values: np.ndarray, where: str, *, is_rgb: bool) -> Picture:
    """Return an image uint8 (h, w, 3) in RGB; DataError for other values.

    Args:
        where: its name in messages.
        is_rgb: whether three channels are red, green and blue, not blue, green and red.
    """
    image = values[..., None] if values.ndim == 2 else values
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
        actual = f"{image.dtype} of {times(image.shape)}"
        raise DataError(f"The image '{where}' is {actual}; expected uint8 (height, width, 3), (height, width, 1) or (height, width).")
    if image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    return np.ascontiguousarray(image if is_rgb else image[..., ::-1])


def as_volume(values: np.ndarray, where: str, reading: VolumeReading) -> Volume:
    """Return a volume of an array (x, y, z) or (x, y, z, 1); DataError for other values.

    Args:
        reading: of which the spacing is taken.

    Example:
        >>> as_volume(np.zeros((4, 5, 6, 1), np.uint8), "val 0", VolumeReading(spacing=(1, 1, 2))).shape
        (4, 5, 6)
    """
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3 or values.dtype.kind not in "biuf":
        raise DataError(f"The volume '{where}' is {values.dtype} of {times(values.shape)}; expected numbers (x, y, z) or (x, y, z, 1).")
    return Volume(values, None if reading.spacing is None else Geometry.of_spacing(reading.spacing, oriented=False), where)


def as_signal(values: np.ndarray, where: str, reading: SignalReading) -> Signal:
    """Return a signal of an array (t,), (t, channels) or, as pictures one pixel wide, (t, 1, channels); DataError for other values.

    Args:
        reading: of which the rate is taken.

    Example:
        >>> as_signal(np.zeros((96, 1, 3), np.uint8), "val 0", SignalReading(rate=50.0)).values.shape
        (3, 96)
    """
    actual = f"{values.dtype} of {times(values.shape)}"
    if values.ndim == 3 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2) or values.dtype.kind not in "biuf":
        raise DataError(f"The signal '{where}' is {actual}; expected numbers (t,), (t, channels) or (t, 1, channels).")
    channels = np.ascontiguousarray(values.reshape(len(values), -1).T).astype(np.float32)
    return Signal(channels, reading.rate, tuple(map(str, range(len(channels)))), name=where)
