"""DICOM waveforms (ECG, haemodynamics, sound): pydicom, of the extra `signals`."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from camtool.errors import ImageError, closest, some
from camtool.io.signals.record import Record, check_bytes, of_array
from camtool.io.signals.signal import SignalReading

_DEFLATED = "1.2.840.10008.1.2.1.99"
_DTYPES = {"SB": "<i1", "UB": "<u1", "SS": "<i2", "US": "<u2", "SL": "<i4", "UL": "<u4"}


def open_dicom(path: Path, reading: SignalReading) -> Record:
    """Return the record of a multiplex group of a DICOM file: the only one, or `reading.part`."""
    try:
        import pydicom
    except ImportError as error:
        raise ImageError("DICOM waveforms need pydicom: pip install 'camtool[signals]'.") from error
    name = str(path)
    check_bytes(name, path.stat().st_size, reading.max_bytes, what="has")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break a rule and are read all the same; what is needed of them is checked
        return _opened(pydicom, path, name, reading)


def _opened(pydicom: Any, path: Path, name: str, reading: SignalReading) -> Record:
    from pydicom.errors import InvalidDicomError
    from pydicom.waveforms import multiplex_array

    try:
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", "")
        if syntax == _DEFLATED:  # of any size once it is unpacked
            raise ImageError(f"DICOM file '{name}' is compressed as a whole; expected a plain one.")
        dataset = pydicom.dcmread(path)
    except InvalidDicomError as error:
        raise ImageError(f"'{name}' is no DICOM file.") from error
    groups = list(dataset.get("WaveformSequence") or [])
    if not groups:
        raise ImageError(f"DICOM file '{name}' has no waveforms; expected a WaveformSequence.")
    number = _part(name, reading.part, [str(group.get("MultiplexGroupLabel", "")) or str(k) for k, group in enumerate(groups)])
    group = groups[number]
    values = np.array(multiplex_array(dataset, number, as_raw=False).T, np.float64)
    padding = group.get("WaveformPaddingValue")
    if padding is not None:
        raw = multiplex_array(dataset, number, as_raw=True).T
        values[raw == _padding(padding, group.WaveformSampleInterpretation)] = np.nan
    definitions = list(group.ChannelDefinitionSequence)
    return of_array(
        values,
        float(group.SamplingFrequency),
        names=[_name(definition, k) for k, definition in enumerate(definitions)],
        units=[_unit(definition) for definition in definitions],
        origin=float(group.get("MultiplexGroupTimeOffset") or 0) / 1000,  # milliseconds
    )


def _part(name: str, part: int | str | None, labels: list[str]) -> int:
    if part is None and len(labels) == 1:
        return 0
    listed = some([f"{k} ({label})" for k, label in enumerate(labels)], 12)
    if part is None:
        raise ImageError(f"DICOM file '{name}' has {len(labels)} groups of waveforms; choose one of {listed} by --part.")
    if part in labels:
        return labels.index(str(part))
    if not str(part).isdecimal() or int(part) >= len(labels):
        raise ImageError(f"DICOM file '{name}' has no group '{part}'{closest(str(part), labels)}; has {listed}.")
    return int(part)


def _padding(value: Any, interpretation: str) -> int:
    dtype = np.dtype(_DTYPES[interpretation])
    return int(np.frombuffer(value[: dtype.itemsize], dtype)[0]) if isinstance(value, bytes) else int(value)


def _name(definition: Any, number: int) -> str:
    sources = definition.get("ChannelSourceSequence") or [None]
    meaning = sources[0].get("CodeMeaning") if sources[0] is not None else None
    return str(definition.get("ChannelLabel") or meaning or number)


def _unit(definition: Any) -> str:
    units = definition.get("ChannelSensitivityUnitsSequence") or [None]
    return str(units[0].get("CodeValue", "")) if units[0] is not None else ""
