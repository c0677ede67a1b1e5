"""Writes one signal as a file of each format."""

import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np

RATE = 250.0


def drawn(channels: int = 3, length: int = 1000, seed: int = 0) -> np.ndarray:
    """Return values (channels, t) in (-0.9, 0.9), no two of which are alike."""
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (channels, length))


def names_of(channels: int) -> list[str]:
    return ["I", "II", "V1", "V2", "V3"][:channels]


def write_table(path: Path, values: np.ndarray, delimiter: str = ",", *, time: bool = True) -> Path:
    columns = [*(["time"] if time else []), *names_of(len(values))]
    rows = np.column_stack([np.arange(values.shape[1]) / RATE, values.T]) if time else values.T
    lines = [columns, *(tuple(f"{value:.9g}" for value in row) for row in rows)]
    path.write_text("\n".join(map(delimiter.join, lines)) + "\n", encoding="utf-8")
    return path


def write_wav(path: Path, values: np.ndarray, kind: str, rate: int = int(RATE)) -> Path:
    """Write as PCM of "8", "16", "24" or "32" bits, or as "float"."""
    if kind == "float":
        from scipy.io import wavfile

        wavfile.write(path, rate, np.ascontiguousarray(values.T, np.float32))
        return path
    size = int(kind) // 8
    levels = np.round(values.T * 2 ** (int(kind) - 1)).astype("<i4") + (128 if size == 1 else 0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(values))
        file.setsampwidth(size)
        file.setframerate(rate)
        file.writeframes(levels[..., None].view(np.uint8).reshape(*levels.shape, 4)[..., :size].tobytes())
    return path


def write_edf(path: Path, channels: dict[str, tuple[np.ndarray, float]]) -> Path:
    import pyedflib

    with pyedflib.EdfWriter(str(path), len(channels), file_type=pyedflib.FILETYPE_EDFPLUS) as file:
        for number, (label, (_, rate)) in enumerate(channels.items()):
            file.setSignalHeader(
                number,
                {
                    "label": label,
                    "dimension": "mV",
                    "sample_frequency": rate,
                    "physical_min": -1.0,
                    "physical_max": 1.0,
                    "digital_min": -32768,
                    "digital_max": 32767,
                    "transducer": "",
                    "prefilter": "",
                },
            )
        file.writeSamples([np.ascontiguousarray(values, np.float64) for values, _ in channels.values()])
    return path


def write_wfdb(path: Path, values: np.ndarray) -> Path:
    """Write the record that `path` names without a suffix."""
    import wfdb

    wfdb.wrsamp(
        path.name,
        fs=RATE,
        units=["mV"] * len(values),
        sig_name=names_of(len(values)),
        p_signal=values.T.copy(),
        fmt=["16"] * len(values),
        write_dir=str(path.parent),
    )
    return path


def write_dicom(path: Path, groups: dict[str, np.ndarray], padding: int | None = None) -> Path:
    """Write groups of whole numbers (channels, t), with a sensitivity of 2 uV and a baseline of 10."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = TwelveLeadECGWaveformStorage, generate_uid()
    dataset.WaveformSequence = Sequence([_group(label, values, padding) for label, values in groups.items()])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path, enforce_file_format=True)
    return path


def _group(label: str, values: np.ndarray, padding: int | None) -> Any:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    group = Dataset()
    group.WaveformOriginality, group.MultiplexGroupLabel = "ORIGINAL", label
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = values.shape
    group.SamplingFrequency = RATE
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = values.T.astype("<i2").tobytes()
    if padding is not None:
        group.add_new(0x5400100A, "OW", np.int16(padding).tobytes())
    group.ChannelDefinitionSequence = Sequence([_channel(name) for name in names_of(len(values))])
    return group


def _channel(name: str) -> Any:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    source, unit, channel = Dataset(), Dataset(), Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "1", "SCPECG", name
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
    channel.ChannelSourceSequence = Sequence([source])
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = "2", "1", "10"
    channel.ChannelSensitivityUnitsSequence = Sequence([unit])
    channel.WaveformBitsStored = 16
    return channel
