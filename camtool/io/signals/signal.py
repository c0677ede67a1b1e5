"""Signal and SignalReading: values by channel and time, and how files of them are read."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from camtool.errors import ImageError

MOST_BYTES = 2_000_000_000
"""Of a file, and of the values that are read of it."""

LINEAR = "linear"
"""Fill gaps by a straight line between their ends."""


@dataclass(frozen=True, eq=False)
class Signal:
    """Values of one or several channels over time.

    Args:
        values: (channels, t), in the units of the file.
        rate: samples a second; None: the file says nothing of it, and the axis is in samples.
        names: of the channels.
        start: time of the first value on the axis of the record, in seconds; 0 without a rate.
        name: in reports and file names; a file's path.
        units: of the channels, "" where unknown; () for none.
        kind: the suffix of the format it was read from; "" if it was no file.

    Raises:
        ImageError: if there are no values, other axes, or not one name (and unit) a channel.

    Example:
        >>> import numpy as np
        >>> from camtool.io.signals import Signal
        >>> signal = Signal(np.zeros((2, 500), np.float32), 250.0, ("I", "II"), start=10.0)
        >>> signal.length, signal.duration, signal.times[[0, -1]].tolist()
        (500, 2.0, [10.0, 11.996])
    """

    values: np.ndarray
    rate: float | None
    names: tuple[str, ...]
    start: float = 0.0
    name: str = ""
    units: tuple[str, ...] = ()
    kind: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or 0 in self.values.shape:
            raise ImageError(f"Expected a signal (channels, t), got values of shape {self.values.shape} from '{self.name}'.")
        if len(self.names) != len(self.values) or len(self.units) not in (0, len(self.values)):
            raise ImageError(
                f"Expected a name, and a unit or none, for each of {len(self.values)} channels; got {self.names} and {self.units}."
            )
        check_rate(self.rate, "rate")

    @property
    def length(self) -> int:
        """Number of samples."""
        return int(self.values.shape[1])

    @property
    def duration(self) -> float:
        """In seconds; in samples without a rate."""
        return self.length / (self.rate or 1.0)

    @property
    def times(self) -> np.ndarray:
        """The time (t) of each sample in seconds, in the record; without a rate its number from 0."""
        return self.start + np.arange(self.length) / (self.rate or 1.0)


@dataclass(frozen=True)
class SignalReading:
    """How files of signals are read.

    Args:
        rate: samples a second, for files that do not say it. None: what the file says.
        channels: numbers from 0, or names; None: all.
        start: time in seconds of the first value that is read, on the axis of the record; None: its beginning.
        duration: seconds that are read; None: up to the end.
        part: which of several: an array of an .npz file by name, a multiplex group of a DICOM file by number from 0 or label.
        fill: what stands in place of gaps (NaN, empty fields): a number, or "linear"; None: gaps are refused.
        max_bytes: of the file, where all of it is read, and of the values.

    Raises:
        ImageError: if a value is invalid.
    """

    rate: float | None = None
    channels: tuple[int | str, ...] | None = None
    start: float | None = None
    duration: float | None = None
    part: int | str | None = None
    fill: float | str | None = None
    max_bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        check_rate(self.rate, "--sampling-rate")
        if self.start is not None and not _is_number(self.start):
            raise ImageError(f"Expected --start as a time in seconds, got {self.start!r}.")
        if self.duration is not None and not (_is_number(self.duration) and self.duration > 0):
            raise ImageError(f"Expected --duration as a number of seconds above 0, got {self.duration!r}.")
        channels = self.channels
        if channels is not None and not (
            isinstance(channels, tuple) and channels and all(isinstance(c, str) or (type(c) is int and c >= 0) for c in channels)
        ):
            raise ImageError(f"Expected --channels as numbers from 0 or names, got {channels!r}.")
        if self.fill is not None and self.fill != LINEAR and not _is_number(self.fill):
            raise ImageError(f"Expected what fills gaps (--fill) as a number or {LINEAR!r}, got {self.fill!r}.")
        if type(self.max_bytes) is not int or self.max_bytes < 1:
            raise ImageError(f"Expected max_bytes as a number of bytes, got {self.max_bytes!r}.")


def check_rate(rate: Any, name: str) -> None:
    """Raise ImageError for a rate that is neither None nor a finite number above 0."""
    if rate is not None and not (_is_number(rate) and rate > 0):
        raise ImageError(f"Expected {name} as samples a second, above 0, got {rate!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
