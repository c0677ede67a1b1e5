"""Signals over time: read from tables, arrays, WAV, EDF, WFDB records and DICOM waveforms."""

from camtool.io.signals.reading import SUFFIXES, read_signal
from camtool.io.signals.signal import Signal, SignalReading

__all__ = ["SUFFIXES", "Signal", "SignalReading", "read_signal"]
