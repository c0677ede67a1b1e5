"""Record: what a file says of its channels, before their values are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from camtool.errors import ImageError


@dataclass(frozen=True)
class Record:
    """The channels of an opened file.

    Args:
        names: of the channels.
        rates: samples a second of each; None where the file does not say.
        lengths: samples of each.
        load: returns the samples first to last (exclusive) of channels of one rate by number, (channels, samples).
        units: of the channels; () for none.
        origin: time of the first sample in seconds, on the axis of the record.
    """

    names: tuple[str, ...]
    rates: tuple[float | None, ...]
    lengths: tuple[int, ...]
    load: Callable[[Sequence[int], int, int], np.ndarray]
    units: tuple[str, ...] = ()
    origin: float = 0.0


def of_array(
    values: np.ndarray, rate: float | None, *, names: Sequence[str] = (), units: Sequence[str] = (), origin: float = 0.0
) -> Record:
    """Return the record of values (channels, t) in memory, or mapped into it; the channels are named by number unless `names` are given."""
    count, length = values.shape
    return Record(
        tuple(names) or tuple(map(str, range(count))),
        (rate,) * count,
        (length,) * count,
        lambda channels, first, last: values[list(channels), first:last],
        tuple(units),
        origin,
    )


def check_bytes(name: str, needed: int, most: int, *, what: str = "takes") -> None:
    """Raise ImageError if a file or its values take more than `most` bytes."""
    if needed > most:
        raise ImageError(f"Signal '{name}' {what} {needed / 1e9:.4g} GB; expected at most {most / 1e9:.4g} GB. Cut it into parts first.")
