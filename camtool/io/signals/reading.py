"""Read a signal of any format: its channels and the span of time that are asked for, without gaps."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from camtool.errors import ImageError, closest, some
from camtool.io.signals.arrays import open_npy, open_npz
from camtool.io.signals.dicom_waveforms import open_dicom
from camtool.io.signals.edf import open_edf
from camtool.io.signals.record import Record, check_bytes
from camtool.io.signals.signal import LINEAR, Signal, SignalReading
from camtool.io.signals.tables import open_table
from camtool.io.signals.wav import open_wav
from camtool.io.signals.wfdb_records import open_wfdb

_OPENERS: Mapping[str, Callable[[Path, SignalReading], Record]] = {
    ".csv": open_table,
    ".tsv": open_table,
    ".txt": open_table,
    ".npy": open_npy,
    ".npz": open_npz,
    ".wav": open_wav,
    ".edf": open_edf,
    ".bdf": open_edf,
    ".hea": open_wfdb,
    ".dat": open_wfdb,
    ".dcm": open_dicom,
}
SUFFIXES = tuple(_OPENERS)
"""Suffixes of files that signals are read from; a WFDB record may also be named without one."""

_OF_PARTS = (".npz", ".dcm")
_RATE_DIFFERS = 1e-3  # of two statements of one rate, at most, by its size: a table's times are rounded


def read_signal(path: str | Path, reading: SignalReading | None = None) -> Signal:
    """Return the signal in a file: the channels and the span of time that are asked for.

    Args:
        path: .csv, .tsv, .txt, .npy, .npz, .wav, .edf, .bdf, .dcm, or a WFDB record by its .hea, its .dat or no suffix.
        reading: channels, span, sampling rate and treatment of gaps; None: all of the file as it is.

    Raises:
        ImageError: if the file is missing, damaged, of another format or too large; lacks the channel or the span; has channels of
            several rates, or gaps; or needs a library that is not installed, or a sampling rate that neither it nor `reading` has.

    Example:
        >>> import tempfile
        >>> from camtool.io.signals import SignalReading, read_signal
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "ecg.csv"
        ...     _ = path.write_text("time,I,II\\n0.00,1,5\\n0.25,2,6\\n0.50,3,7\\n0.75,4,8\\n")
        ...     signal = read_signal(path, SignalReading(channels=("II",), start=0.25, duration=0.5))
        >>> signal.values.tolist(), signal.rate, signal.start
        ([[6.0, 7.0]], 4.0, 0.25)
    """
    path, reading = Path(path), reading or SignalReading()
    name, suffix = str(path), path.suffix.lower()
    if suffix not in _OPENERS and Path(f"{path}.hea").is_file():
        path, suffix = Path(f"{path}.hea"), ".hea"
    if not path.is_file():
        raise ImageError(f"No signal '{name}'." if not path.is_dir() else f"'{name}' is a folder; expected a file of a signal.")
    if suffix not in _OPENERS:
        raise ImageError(f"Signal '{name}' is of an unknown format; expected {', '.join(SUFFIXES)}, or a WFDB record.")
    if reading.part is not None and suffix not in _OF_PARTS:
        raise ImageError(f"'{name}' is one signal; --part chooses of several, in {' or '.join(_OF_PARTS)} files. Leave it out.")
    if path.stat().st_size == 0:
        raise ImageError(f"Signal '{name}' is empty (0 bytes).")
    try:
        record = _OPENERS[suffix](path, reading)
        channels = _chosen(record, name, reading.channels)
        rate = _rate(record, channels, name, reading.rate)
        first, last = _span(record, record.lengths[channels[0]], rate, name, reading)
        check_bytes(name, 8 * len(channels) * (last - first), reading.max_bytes)  # many libraries read into float64
        read = np.asarray(record.load(channels, first, last))
    except ImageError:
        raise
    except Exception as error:  # of five libraries and numpy, which raise nearly all kinds for damaged files
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise ImageError(f"Signal '{name}' cannot be read; the file is truncated or damaged: {text}") from error
    if read.shape != (len(channels), last - first):
        raise ImageError(f"Signal '{name}' is truncated: expected {last - first} samples of {len(channels)} channels, got {read.shape}.")
    names = tuple(record.names[channel] for channel in channels)
    start = 0.0 if rate is None else record.origin + first / rate
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        values = np.ascontiguousarray(read, np.float32)
    values = _without_gaps(values, names, rate, start, name, reading.fill)
    units = tuple(record.units[channel] for channel in channels) if record.units else ()
    return Signal(values, rate, names, start, name, units, suffix)


def _chosen(record: Record, name: str, channels: Sequence[int | str] | None) -> list[int]:
    if channels is None:
        return list(range(len(record.names)))
    found = [_number(record, name, channel) for channel in channels]
    if len(set(found)) < len(found):
        raise ImageError(f"--channels names a channel of '{name}' twice: {', '.join(map(str, channels))}.")
    return found


def _number(record: Record, name: str, channel: int | str) -> int:
    own = record.names
    if isinstance(channel, str):
        alike = [k for k, other in enumerate(own) if other == channel]
        alike = alike or [k for k, other in enumerate(own) if other.strip().casefold() == channel.strip().casefold()]
        if len(alike) > 1:
            raise ImageError(f"Signal '{name}' has {len(alike)} channels '{channel}'; choose by number: {', '.join(map(str, alike))}.")
        if alike:
            return alike[0]
        if not channel.strip().isdecimal():
            raise ImageError(f"Signal '{name}' has no channel '{channel}'{closest(channel, own)}; expected one of {some(own, 12)}.")
    if int(channel) >= len(own):
        has = "one channel" if len(own) == 1 else f"{len(own)} channels"
        raise ImageError(f"Signal '{name}' has {has}, no channel {channel}; expected 0 to {len(own) - 1}, or one of {some(own, 12)}.")
    return int(channel)


def _rate(record: Record, channels: Sequence[int], name: str, given: float | None) -> float | None:
    """Return the rate of the chosen channels, which must be one."""
    kinds: dict[tuple[float | None, int], list[str]] = {}
    for channel in channels:
        kinds.setdefault((record.rates[channel], record.lengths[channel]), []).append(record.names[channel])
    if len(kinds) > 1:
        listed = "; ".join(f"{some(names, 8)} at {rate:g} Hz" for (rate, _), names in kinds.items())
        raise ImageError(f"The channels of '{name}' have several sampling rates: {listed}. Choose those of one rate by --channels.")
    own = record.rates[channels[0]]
    if own is not None and given is not None and abs(own - given) > _RATE_DIFFERS * own:
        raise ImageError(
            f"Signal '{name}' is sampled at {own:g} Hz, --sampling-rate says {given:g} Hz. Leave it out; to resample, set "
            f"preprocess=dict(rate={given:g}) in the config."
        )
    return given if own is None else own


def _span(record: Record, length: int, rate: float | None, name: str, reading: SignalReading) -> tuple[int, int]:
    """Return the first sample, and the one after the last."""
    if reading.start is None and reading.duration is None:
        return 0, length
    if rate is None:
        raise ImageError(
            f"Signal '{name}' says nothing of its sampling rate, which --start and --duration need; give it by --sampling-rate HZ."
        )
    end = record.origin + length / rate
    has = f"Signal '{name}' is {length / rate:.6g} s long, from {record.origin:.6g} s to {end:.6g} s"
    start = record.origin if reading.start is None else float(reading.start)
    first = round((start - record.origin) * rate)
    if not 0 <= first < length:
        raise ImageError(f"{has}; expected --start inside of it, got {start:g} s.")
    if reading.duration is None:
        return first, length
    last = first + max(round(reading.duration * rate), 1)
    if last > length:
        raise ImageError(f"{has}; --start {start:g} and --duration {reading.duration:g} lead to {record.origin + last / rate:.6g} s.")
    return first, last


def _without_gaps(
    values: np.ndarray, names: Sequence[str], rate: float | None, start: float, name: str, fill: float | str | None
) -> np.ndarray:
    gaps = ~np.isfinite(values)
    count = int(gaps.sum())
    if not count:
        return values
    if fill is None:
        at = int(gaps.any(axis=0).argmax())
        channel = names[int(gaps[:, at].argmax())]
        when = f"sample {at}" if rate is None else f"{start + at / rate:.6g} s (sample {at})"
        has = "one value that is no finite number" if count == 1 else f"{count} values that are no finite numbers"
        raise ImageError(
            f"Signal '{name}' has {has}, the first in channel '{channel}' at {when}; cut it, or say what fills gaps: --fill linear, or a "
            "number."
        )
    if fill != LINEAR:
        values[gaps] = float(fill)
        return values
    places = np.arange(values.shape[1])
    for channel, row, missing in zip(names, values, gaps, strict=True):
        if missing.all():
            raise ImageError(f"Channel '{channel}' of '{name}' has no finite value, and its gaps cannot be filled; leave it out.")
        row[missing] = np.interp(places[missing], places[~missing], row[~missing])
    return values
