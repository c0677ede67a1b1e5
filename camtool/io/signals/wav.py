"""Sound: WAV files of 8, 16, 24 and 32 bits and of floating point."""

import warnings
from pathlib import Path

import numpy as np

from camtool.io.signals.record import Record, check_bytes, of_array
from camtool.io.signals.signal import SignalReading


def open_wav(path: Path, reading: SignalReading) -> Record:
    """Return the record of a WAV file; whole numbers are in [-1, 1), floating point as it is."""
    from scipy.io import wavfile

    check_bytes(str(path), path.stat().st_size, reading.max_bytes, what="has")
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
