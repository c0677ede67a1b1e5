"""VolumeReading: what a file of a volume does not say itself, and what of it is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from camtool.errors import ImageError

MOST_BYTES = 2_000_000_000
"""While decoding; more are allowed where they are asked for."""


@dataclass(frozen=True)
class VolumeReading:
    """How files of volumes are read.

    Args:
        spacing: size of a voxel (x, y, z) in millimetres, of TIFF and .npy files, which do not state it. None: it is not known.
        volume: which of several volumes of a file (points of time, echoes, channels): a number counted from 0, or one for each such
            axis. None: the file has one.
        volume_axis: which axes of a .npy file of more than three, counted from 0, number its volumes. Other formats say it.
        series: of a DICOM folder with several: the series' number, description or UID. None: the folder has one.
        nan_as: what is put in place of voxels that are NaN: 0.0, or `math.nan` to keep them. None: a volume with such is refused.
        max_bytes: most memory for a file's voxels and their copy in float32, by the sizes that its header states.

    Raises:
        ImageError: if a value is invalid.

    Example:
        >>> VolumeReading(spacing=[1, 1, 2.5]).spacing
        (1.0, 1.0, 2.5)
    """

    spacing: Sequence[int | float] | None = None
    volume: int | Sequence[int] | None = None
    volume_axis: int | Sequence[int] | None = None
    series: str | int | None = None
    nan_as: float | None = None
    max_bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        if self.spacing is not None:
            given = tuple(self.spacing) if isinstance(self.spacing, (list, tuple)) else ()
            if len(given) != 3 or not all(_is_number(size) and 0 < size < math.inf for size in given):
                raise ImageError(f"Expected spacing as three sizes in millimetres, such as (1, 1, 2.5), got {self.spacing!r}.")
            object.__setattr__(self, "spacing", tuple(map(float, given)))
        for name in ("volume", "volume_axis"):
            value = getattr(self, name)
            if value is None:
                continue
            numbers = tuple(value) if isinstance(value, (list, tuple)) else (value,)
            if not numbers or not all(type(number) is int and number >= 0 for number in numbers):
                raise ImageError(f"Expected {name} as a number counted from 0, or several, got {value!r}.")
            object.__setattr__(self, name, numbers)
        if self.series is not None and (isinstance(self.series, bool) or not isinstance(self.series, (str, int))):
            raise ImageError(f"Expected series as the number, description or UID of a series, got {self.series!r}.")
        if self.nan_as is not None and (not _is_number(self.nan_as) or math.isinf(self.nan_as)):
            raise ImageError(f"Expected nan_as as a number that NaN is replaced by (--nan-as), got {self.nan_as!r}.")
        if type(self.max_bytes) is not int or self.max_bytes < 1:
            raise ImageError(f"Expected max_bytes as a number of bytes, got {self.max_bytes!r}.")

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The numbers of `volume`."""
        return None if self.volume is None else (self.volume,) if isinstance(self.volume, int) else tuple(self.volume)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of `volume_axis`."""
        return () if self.volume_axis is None else (self.volume_axis,) if isinstance(self.volume_axis, int) else tuple(self.volume_axis)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
