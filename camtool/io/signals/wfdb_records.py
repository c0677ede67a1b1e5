"""WFDB records of PhysioNet, a header (.hea) and its signals (.dat): wfdb, of the extra `signals`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camtool.errors import ImageError
from camtool.io.signals.record import Record, check_bytes, of_array
from camtool.io.signals.signal import SignalReading

_PLAIN = re.compile(r"[\w\-][\w\-.]*\Z")  # names of files in the record's folder; no way out of it, no address
_NO_FILE = "~"


def open_wfdb(path: Path, reading: SignalReading) -> Record:
    """Return the record of a WFDB header; its signals lie in the same folder.

    Raises:
        ImageError: if the header is missing, or names a file elsewhere.
    """
    try:
        import wfdb
    except ImportError as error:
        raise ImageError("WFDB records need wfdb: pip install 'camtool[signals]'.") from error
    header_path = path.with_suffix(".hea").absolute()
    if not header_path.is_file():
        raise ImageError(f"'{path}' has no header '{header_path.name}' beside it; expected a WFDB record of a .hea and a .dat file.")
    stem = str(header_path.with_suffix(""))
    if "::" in stem or "://" in stem:  # which wfdb takes for an address
        raise ImageError(f"WFDB record '{path}' lies in a folder that reads as an address; rename it.")
    check_bytes(str(header_path), header_path.stat().st_size, 10_000_000, what="has a header of")
    header: Any = wfdb.rdheader(stem)
    if isinstance(header, wfdb.MultiRecord):
        return _segments(wfdb, stem, header, path, reading)
    _check_files(header.file_name, path)
    _check_there(header.file_name, header_path.parent, path)
    rates = tuple(float(header.fs) * count for count in header.samps_per_frame)
    lengths = tuple(int(header.sig_len) * count for count in header.samps_per_frame)

    def load(channels: Sequence[int], first: int, last: int) -> np.ndarray:
        count = header.samps_per_frame[channels[0]]  # of one rate, so that all have as many
        frame = first // count
        read = wfdb.rdrecord(stem, sampfrom=frame, sampto=-(-last // count), channels=list(channels), smooth_frames=False)
        skipped = first - frame * count
        return np.stack(read.e_p_signal)[:, skipped : skipped + last - first]

    return Record(tuple(header.sig_name), rates, lengths, load, tuple(unit or "" for unit in header.units))


def _segments(wfdb: Any, stem: str, header: Any, path: Path, reading: SignalReading) -> Record:
    """Return the record of several segments, read whole."""
    names = [name for name in header.seg_name if name != _NO_FILE]
    _check_files(names, path)
    folder = Path(stem).parent
    _check_there([f"{name}.hea" for name in names], folder, path)
    channels = 1
    for name in dict.fromkeys(names):
        segment = wfdb.rdheader(str(folder / name))
        if isinstance(segment, wfdb.MultiRecord):
            raise ImageError(f"WFDB record '{path}' has a segment '{name}' that has segments itself; expected signals.")
        _check_files(segment.file_name or [], path)
        channels = max(channels, segment.n_sig)
    check_bytes(str(path), 8 * int(header.sig_len) * max(channels, header.n_sig), reading.max_bytes)
    read = wfdb.rdrecord(stem, m2s=True)
    return of_array(read.p_signal.T, float(read.fs), names=read.sig_name, units=[unit or "" for unit in read.units])


def _check_files(names: Sequence[str] | None, path: Path) -> None:
    if not names:
        raise ImageError(f"WFDB record '{path}' has no signals.")
    for name in names:
        if name != _NO_FILE and not _PLAIN.match(name):
            raise ImageError(f"The header of WFDB record '{path}' names a file '{name}'; expected one in its own folder.")


def _check_there(names: Sequence[str], folder: Path, path: Path) -> None:
    for name in names:
        if name != _NO_FILE and not (folder / name).is_file():
            raise ImageError(f"WFDB record '{path}' lacks its file '{name}'; expected it in the folder of the header.")
