"""Arrays that numpy saved: .npy, and one of an .npz file. Nothing in them is executed."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from camtool.errors import ImageError, closest, some, warn
from camtool.io.signals.record import Record, check_bytes, of_array
from camtool.io.signals.signal import SignalReading

_RATES = ("fs", "rate", "sfreq", "sampling_rate", "sample_rate", "sampling_frequency")  # names of single numbers beside a signal


def open_npy(path: Path, reading: SignalReading) -> Record:
    """Return the record of an array (t,) or (channels, t) in an .npy file, of which only what is asked for is read."""
    with path.open("rb") as content:
        shape, _, dtype = _header(content)
    _check(str(path), shape, dtype)
    return of_array(_by_channel(np.load(path, mmap_mode="r", allow_pickle=False), str(path)), None)


def open_npz(path: Path, reading: SignalReading) -> Record:
    """Return the record of an array (t,) or (channels, t) in an .npz file: the only one, or `reading.part`.

    A single number beside it with a name such as "fs" is its sampling rate.
    """
    name = str(path)
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ImageError(f"Signal '{name}' is no .npz file: {error}.") from error
    with archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}
        headers = {}
        for own, info in members.items():
            with archive.open(info) as content:
                headers[own] = _header(content)
        signals = {own: header for own, header in headers.items() if len(header[0]) in (1, 2) and header[2].kind in "buif"}
        chosen = _part(name, reading.part, list(signals))
        try:
            values = _by_channel(_read(archive, members[chosen], name, reading.max_bytes), name)
            rate = next((_number(archive, members[own], name) for own in _RATES if own in headers and headers[own][0] in ((), (1,))), None)
        except zipfile.BadZipFile as error:  # a checksum that differs
            raise ImageError(f"Signal '{name}' cannot be read; the file is damaged: {error}.") from error
    return of_array(values, rate)


def _part(name: str, part: int | str | None, names: list[str]) -> str:
    if not names:
        raise ImageError(f"'{name}' has no array of numbers (t,) or (channels, t).")
    if part is None and len(names) == 1:
        return names[0]
    if part is None:
        raise ImageError(f"'{name}' has {len(names)} arrays; choose one of {some(names, 12)} by --part.")
    if part not in names:
        raise ImageError(f"'{name}' has no array (t,) or (channels, t) named '{part}'{closest(str(part), names)}; has {some(names, 12)}.")
    return str(part)


def _header(content: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(content)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(content)


def _check(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.hasobject or dtype.kind not in "buif" or len(shape) not in (1, 2) or 0 in shape:  # objects would run code
        raise ImageError(f"'{name}' is an array of shape {shape} and type {dtype}; expected numbers (t,) or (channels, t).")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, most: int) -> np.ndarray:
    with archive.open(info) as content:
        shape, by_columns, dtype = _header(content)
        _check(name, shape, dtype)
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        check_bytes(name, needed, most)  # of the header: what the archive says of itself may be wrong
        raw = content.read(needed)
    if len(raw) < needed:
        raise ImageError(f"Signal '{name}' is truncated: an array of shape {shape} has {needed} bytes, got {len(raw)}.")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if by_columns else "C")


def _number(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> float | None:
    with archive.open(info) as content:
        _, _, dtype = _header(content)
        if dtype.kind not in "uif":
            return None
        rate = float(np.frombuffer(content.read(dtype.itemsize), dtype)[0])
    if not 0 < rate < float("inf"):
        raise ImageError(f"'{name}' has a sampling rate of {rate}; expected one above 0.")
    return rate


def _by_channel(values: np.ndarray, name: str) -> np.ndarray:
    values = values.reshape(1, -1) if values.ndim == 1 else values
    if values.shape[0] > values.shape[1]:
        warn(
            f"'{name}' is read as {values.shape[0]} channels of {values.shape[1]} samples; an array is (channels, t). "
            "If its rows are time, transpose it."
        )
    return values
