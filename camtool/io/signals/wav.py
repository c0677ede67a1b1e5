"""Sound: WAV files of 8, 16, 24 and 32 bits and of floating point."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from camtool.errors import ImageError
from camtool.io.signals.record import Record, check_bytes, of_array
from camtool.io.signals.signal import SignalReading

_ORDERS: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big"}
_UNKNOWN = 0xFFFFFFFF  # the size of what was written without an end in sight


def open_wav(path: Path, reading: SignalReading) -> Record:
    """Return the record of a WAV file; whole numbers are in [-1, 1), floating point as it is."""
    from scipy.io import wavfile

    check_bytes(str(path), path.stat().st_size, reading.max_bytes, what="has")
    _check_whole(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of other things
        rate, values = wavfile.read(path)
    values = values.reshape(len(values), -1).T
    dtype = values.dtype
    if dtype.kind == "u":  # 8 bits have no sign
        values = (values.astype(np.float32) - 128) / 128
    elif dtype.kind == "i":  # scipy puts 24 bits into the upper ones of 32
        values = values.astype(np.float64 if dtype.itemsize > 2 else np.float32) / -float(np.iinfo(dtype).min)
    return of_array(values, float(rate))


def _check_whole(path: Path) -> None:
    """Raise ImageError if the sound is shorter than the header says, which scipy takes for a shorter sound."""
    with path.open("rb") as file:
        order = _ORDERS.get(file.read(4))
        if order is None:
            return
        file.seek(12)
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], order)
            if head[:4] != b"data":
                file.seek(size + size % 2, 1)
                continue
            there = path.stat().st_size - file.tell()
            if there < size != _UNKNOWN:
                raise ImageError(f"Signal '{path}' has {there} bytes of sound; expected {size}, as its header says. It is truncated.")
            return
