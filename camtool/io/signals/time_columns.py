"""The column of time of a table: found by its name, and checked to be even."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from camtool.errors import ImageError

_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minutes"), 60.0),
}
_ALONE = {"sec", "seconds", "ms", "milliseconds"}
"""Units that may be a column's name; "s" or "min" may be a channel's."""
_TIME = re.compile(r"(?:elapsed[ _]?)?(?:time[ _]?stamps?|times?|t)(?:\W*[ _(\[/]\W*(\w+)\W*)?\Z")
_COUNTS = {"", "index", "sample", "samples", "sample #", "sample number", "unnamed: 0"}
"""Names of columns that number the rows, as pandas writes them."""

_MOST_UNEVEN = 1.9  # times the shortest step: times are rounded, to milliseconds say; where a sample is missing, a step is twice as long
_MOST_DRIFT = 0.5  # steps by which a time may differ from an even one


class TimeColumn(NamedTuple):
    """A column that is no channel."""

    number: int | None
    rate: float | None
    """Samples a second; None if the rows are only numbered."""
    origin: float
    """The first time, in seconds."""


def time_column(names: Sequence[str], values: np.ndarray, name: str, first_line: int, units: Sequence[str] = ()) -> TimeColumn | None:
    """Return which column of a table (t, columns) has the time, by its name; None if none has.

    Args:
        names: of the columns, [] for none.
        name: of the file, in messages.
        first_line: number of the line that the first row is from.
        units: of the columns, where a line says them.

    Raises:
        ImageError: if the times do not grow, or not evenly.

    Example:
        >>> time_column(["time (ms)", "II"], np.array([[0.0, 5], [2, 6], [4, 7]]), "x.csv", 2)
        TimeColumn(number=0, rate=500.0, origin=0.0)
    """
    for number, own in enumerate(names):
        unit = _unit(own, units[number] if units else "")
        if unit is not None:
            rate, origin = _rate(values[:, number] * unit, own, name, first_line)
            return TimeColumn(number, rate, origin)
    if names and len(names) > 1 and names[0].strip().casefold() in _COUNTS:
        count = values[:, 0]
        if np.array_equal(count, count[0] + np.arange(len(count))):
            return TimeColumn(0, None, 0.0)
    return None


def _unit(column: str, unit: str) -> float | None:
    """Return how many seconds a column's numbers are in; None for one that is not of time."""
    folded = column.strip().casefold()
    if folded in _ALONE:
        return _UNITS[folded]
    found = _TIME.match(folded)
    if found is None:
        return None
    own = found[1] or unit.strip().casefold()
    return _UNITS.get(own) if own else 1.0


def _rate(times: np.ndarray, column: str, name: str, first_line: int) -> tuple[float, float]:
    if len(times) < 2:
        raise ImageError(f"Signal '{name}' has one line of numbers; expected two or more times in column '{column}'.")
    bad = np.flatnonzero(~np.isfinite(times))
    if len(bad):
        raise ImageError(f"Line {first_line + int(bad[0])} of '{name}' has no time in column '{column}'.")
    steps = np.diff(times)
    step, offset = _line(times)
    wrong = np.flatnonzero(steps <= 0)
    if not len(wrong) and steps.max() > _MOST_UNEVEN * steps.min():
        wrong = np.array([steps.argmax()])
    if not len(wrong):
        wrong = np.flatnonzero(np.abs(times - offset - step * np.arange(len(times))) > _MOST_DRIFT * step)[:1] - 1
    if len(wrong):
        at = max(int(wrong[0]), 0)
        raise ImageError(
            f"The times in column '{column}' of '{name}' are not even: line {first_line + at + 1} follows after {steps[at]:.6g} s, where "
            f"{np.median(steps):.6g} s are usual. Resample it first, or leave the column out and give --sampling-rate."
        )
    return _whole(1 / step, times), float(times[0])


def _line(times: np.ndarray) -> tuple[float, float]:
    """Return (step, offset) of the even times that are closest to these."""
    count = np.arange(len(times)) - (len(times) - 1) / 2
    step = float((count * times).sum() / np.square(count).sum())
    return step, float(times.mean() - step * (len(times) - 1) / 2)


def _whole(rate: float, times: np.ndarray) -> float:
    """Return the whole number nearest to a rate where the times, which are rounded, agree with it as well."""
    nearest = float(round(rate))
    if nearest <= 0:
        return rate
    count = np.arange(len(times))
    off, off_nearest = (float((times - count / one).std()) for one in (rate, nearest))
    return nearest if off_nearest <= 1.1 * off + 1e-6 / rate else rate
