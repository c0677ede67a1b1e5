"""EDF, EDF+ and BDF: pyedflib, of the extra `signals`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camtool.errors import ImageError
from camtool.io.signals.record import Record
from camtool.io.signals.signal import SignalReading


def open_edf(path: Path, reading: SignalReading) -> Record:
    """Return the record of an EDF or BDF file; channels may have rates of their own. Annotations are no channels."""
    with _opened(path) as file:
        count = file.signals_in_file
        if not count:
            raise ImageError(f"'{path}' has no signals, only annotations.")
        names = tuple(str(label).strip() for label in file.getSignalLabels())
        rates = tuple(float(file.getSampleFrequency(k)) for k in range(count))
        lengths = tuple(int(length) for length in file.getNSamples()[:count])
        units = tuple(str(file.getPhysicalDimension(k)).strip() for k in range(count))

    def load(channels: Sequence[int], first: int, last: int) -> np.ndarray:
        with _opened(path) as again:
            return np.stack([again.readSignal(channel, first, last - first) for channel in channels])

    return Record(names, rates, lengths, load, units)


def _opened(path: Path) -> Any:
    try:
        import pyedflib
    except ImportError as error:
        raise ImageError("EDF files need pyedflib: pip install 'camtool[signals]'.") from error
    return pyedflib.EdfReader(str(path))
