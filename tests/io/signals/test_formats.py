"""Signals of every format: the values, names, rate and span that were written, and refusals of what is not one."""

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from camtool.errors import CamtoolWarning, ImageError
from camtool.io.signals import Signal, SignalReading, read_signal
from tests.io.signals.files import RATE, drawn, names_of, write_dicom, write_edf, write_table, write_wav, write_wfdb


def _npy(folder: Path, values: np.ndarray) -> Path:
    np.save(folder / "x.npy", values)
    return folder / "x.npy"


def _npz(folder: Path, values: np.ndarray) -> Path:
    np.savez_compressed(folder / "x.npz", ecg=values, fs=RATE)
    return folder / "x.npz"


def _dicom(folder: Path, values: np.ndarray) -> Path:
    return write_dicom(folder / "x.dcm", {"RHYTHM": np.round((values * 2e4 - 10) / 2)})


WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "csv": lambda folder, values: write_table(folder / "x.csv", values),
    "tsv": lambda folder, values: write_table(folder / "x.tsv", values, "\t"),
    "txt": lambda folder, values: write_table(folder / "x.txt", values, " "),
    "semicolons": lambda folder, values: write_table(folder / "y.csv", values, ";"),
    "npy": _npy,
    "npz": _npz,
    "wav 16": lambda folder, values: write_wav(folder / "x.wav", values, "16"),
    "wav 24": lambda folder, values: write_wav(folder / "x.wav", values, "24"),
    "wav 32": lambda folder, values: write_wav(folder / "x.wav", values, "32"),
    "wav float": lambda folder, values: write_wav(folder / "x.wav", values, "float"),
    "wav 8": lambda folder, values: write_wav(folder / "x.wav", values, "8"),
    "edf": lambda folder, values: write_edf(
        folder / "x.edf", dict(zip(names_of(len(values)), [(row, RATE) for row in values], strict=True))
    ),
    "wfdb": lambda folder, values: write_wfdb(folder / "r100", values),
    "dicom": _dicom,
}
NAMED = {"csv", "tsv", "txt", "semicolons", "edf", "wfdb", "dicom"}
SCALE = {"dicom": 2e4}
STEP = {"wav 8": 2**-8, "dicom": 1.0}


@pytest.mark.parametrize("kind", WRITERS)
def test_values_names_and_rate_are_those_of_the_file(tmp_path: Path, kind: str) -> None:
    values = drawn()
    signal = read_signal(WRITERS[kind](tmp_path, values), SignalReading(rate=RATE if kind == "npy" else None))
    np.testing.assert_allclose(signal.values, values * SCALE.get(kind, 1), atol=1.01 * STEP.get(kind, 2**-15))
    assert (signal.values.dtype, signal.rate, signal.start) == (np.float32, RATE, 0.0)
    assert signal.names == (("I", "II", "V1") if kind in NAMED else ("0", "1", "2"))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_span_of_chosen_channels_is_that_part_of_the_whole(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, drawn())
    rate = RATE if kind == "npy" else None
    whole = read_signal(path, SignalReading(rate=rate))
    part = read_signal(path, SignalReading(rate=rate, channels=(2, whole.names[0]), start=0.5, duration=1.2))
    np.testing.assert_array_equal(part.values, whole.values[[2, 0], 125:425])
    assert (part.start, part.duration, part.names) == (0.5, 1.2, (whole.names[2], whole.names[0]))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"start": 4.0}, r"is 4 s long, from 0 s to 4 s; expected --start inside of it, got 4 s"),
        ({"start": -0.1}, r"is 4 s long.*got -0\.1 s"),
        ({"start": 3.0, "duration": 1.5}, r"is 4 s long.*--start 3 and --duration 1\.5 lead to 4\.5 s"),
        ({"channels": (3,)}, r"has 3 channels, no channel 3; expected 0 to 2"),
        ({"channels": ("aVR",)}, r"no channel 'aVR'"),
        ({"channels": (0, 0)}, r"names a channel of .* twice"),
        ({"rate": 300.0}, r"sampled at 250 Hz, --sampling-rate says 300 Hz"),
        ({"max_bytes": 500}, r"GB; expected at most 5e-0\d GB"),
    ],
)
def test_what_a_record_has_not_is_one_line(tmp_path: Path, kind: str, asked: dict[str, object], message: str) -> None:
    if kind == "npy" and asked.get("rate"):
        return
    with pytest.raises(ImageError, match=message) as raised:
        read_signal(WRITERS[kind](tmp_path, drawn()), SignalReading(**{"rate": RATE if kind == "npy" else None, **asked}))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def _read_or_error(path: Path) -> Signal | str:
    try:
        return read_signal(path, SignalReading(max_bytes=50_000_000))
    except (ImageError, CamtoolWarning) as error:  # a warning of axes in the wrong order
        return str(error)


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files_are_one_line(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, drawn())
    path = path if path.suffix else path.with_suffix(".dat")
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(12):
        damaged = bytearray(content[: int(rng.integers(1, len(content)))])
        for place in rng.integers(0, min(len(damaged), 200), 4):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(bytes(damaged))
        found = _read_or_error(path)
        assert "\n" not in found if isinstance(found, str) else np.isfinite(found.values).all()


def test_without_a_rate_the_axis_is_in_samples_and_seconds_ask_for_one(tmp_path: Path) -> None:
    path = _npy(tmp_path, drawn())
    signal = read_signal(path)
    assert (signal.rate, signal.duration, signal.times[-1]) == (None, 1000, 999)
    with pytest.raises(ImageError, match="--sampling-rate HZ"):
        read_signal(path, SignalReading(start=1.0))


def test_an_array_of_one_axis_is_one_channel_and_more_channels_than_samples_are_remarked(tmp_path: Path) -> None:
    assert read_signal(_npy(tmp_path, np.arange(9))).values.shape == (1, 9)
    with pytest.warns(CamtoolWarning, match="read as 9 channels of 2 samples"):
        assert read_signal(_npy(tmp_path, np.zeros((9, 2)))).values.shape == (9, 2)


def test_of_several_arrays_one_is_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=drawn(1), b=2 * drawn(1), label=np.array("n"))
    with pytest.raises(ImageError, match="2 arrays; choose one of a, b by --part"):
        read_signal(tmp_path / "x.npz")
    np.testing.assert_allclose(read_signal(tmp_path / "x.npz", SignalReading(part="b")).values, 2 * drawn(1), rtol=1e-6)
    with pytest.raises(ImageError, match="named 'c'"):
        read_signal(tmp_path / "x.npz", SignalReading(part="c"))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([print, 1], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([print, 1], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ImageError, match=r"expected numbers|no array of numbers"):
            read_signal(tmp_path / name)


def test_an_archive_that_unpacks_to_more_than_allowed_is_refused_before(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"shape": (1, 10**13), "fortran_order": False, "descr": "<f8"})
    with pytest.raises(ImageError, match="8e\\+04 GB"):
        read_signal(tmp_path / "x.npz")


def test_edf_channels_of_several_rates_are_asked_for(tmp_path: Path) -> None:
    slow, fast = drawn(1, 400)[0], drawn(1, 1000)[0]
    path = write_edf(tmp_path / "x.edf", {"EEG": (fast, 250.0), "EOG": (fast, 250.0), "Resp": (slow, 100.0)})
    with pytest.raises(ImageError, match="several sampling rates: EEG, EOG at 250 Hz; Resp at 100 Hz"):
        read_signal(path)
    signal = read_signal(path, SignalReading(channels=("resp",), start=1.0))
    assert (signal.rate, signal.length, signal.units) == (100.0, 300, ("mV",))
    np.testing.assert_allclose(signal.values[0], slow[100:], atol=2**-14)


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_a_wfdb_record_is_named_by_either_file_or_by_none(tmp_path: Path, suffix: str) -> None:
    write_wfdb(tmp_path / "100", drawn())
    assert read_signal(f"{tmp_path / '100'}{suffix}").names == ("I", "II", "V1")


@pytest.mark.parametrize(
    "name", ["../r100.dat", "/etc/passwd", "https://example.org/r100.dat", "sub/r100.dat", "C:\\x.dat", "s3::r100.dat", ".hidden"]
)
def test_a_wfdb_header_names_files_of_its_folder_only(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    header = write_wfdb(tmp_path / "in" / "r100", drawn()).with_suffix(".hea")
    (tmp_path / "r100.dat").write_bytes((tmp_path / "in" / "r100.dat").read_bytes())
    header.write_text(header.read_text().replace("r100.dat", name))
    with pytest.raises(ImageError, match=r"names a file|cannot be read"):
        read_signal(header)


def test_a_wfdb_record_of_segments_is_read_as_one_and_its_headers_are_checked(tmp_path: Path) -> None:
    values = drawn(2, 600)
    for number, part in enumerate((values[:, :400], values[:, 400:])):
        write_wfdb(tmp_path / f"s{number}", part)
    header = tmp_path / "whole.hea"
    header.write_text("whole/2 2 250 600\ns0 400\ns1 200\n")
    signal = read_signal(header, SignalReading(start=1.5, duration=0.4))
    np.testing.assert_allclose(signal.values, values[:, 375:475], atol=2**-14)
    header.write_text("whole/2 2 250 600\ns0 400\n../s1 200\n")
    with pytest.raises(ImageError, match=r"names a file|cannot be read"):
        read_signal(header)
    header.write_text("whole/2 2 250 600\ns0 400\ns1 200\n")
    other = tmp_path / "s1.hea"
    other.write_text(other.read_text().replace("s1.dat", "../s1.dat"))
    with pytest.raises(ImageError, match=r"names a file|cannot be read"):
        read_signal(header)


def test_missing_samples_of_a_wfdb_record_are_gaps(tmp_path: Path) -> None:
    values = drawn(2)
    values[1, 30:33] = np.nan
    path = write_wfdb(tmp_path / "x", values)
    with pytest.raises(ImageError, match=r"3 values that are no finite numbers, the first in channel 'II' at 0\.12 s \(sample 30\)"):
        read_signal(path)
    assert np.isfinite(read_signal(path, SignalReading(fill="linear")).values).all()


def test_groups_of_a_dicom_file_are_asked_for(tmp_path: Path) -> None:
    rhythm, beat = np.arange(20).reshape(2, 10), np.arange(10).reshape(1, 10)
    path = write_dicom(tmp_path / "x.dcm", {"RHYTHM": rhythm, "MEDIAN": beat}, padding=7)
    with pytest.raises(ImageError, match=r"2 groups of waveforms; choose one of 0 \(RHYTHM\), 1 \(MEDIAN\) by --part"):
        read_signal(path)
    with pytest.raises(ImageError, match="one value that is no finite number"):  # its padding
        read_signal(path, SignalReading(part="MEDIAN"))
    signal = read_signal(path, SignalReading(part=1, fill=0.0))
    assert signal.values.tolist() == [[0.0 if value == 7 else 2.0 * value + 10 for value in range(10)]]
    assert (signal.units, signal.names) == (("uV",), ("I",))


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for name, message in (("x.mp3", "unknown format"), ("none.csv", "No signal"), ("x.csv", "empty")):
        if name != "none.csv":
            (tmp_path / name).write_bytes(b"ID3" if name == "x.mp3" else b"")
        with pytest.raises(ImageError, match=message):
            read_signal(tmp_path / name)
    with pytest.raises(ImageError, match="is a folder"):
        read_signal(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0.0},
        {"rate": float("nan")},
        {"start": float("inf")},
        {"duration": 0.0},
        {"channels": (-1,)},
        {"channels": ()},
        {"fill": "cubic"},
    ],
)
def test_readings_that_cannot_be_meant_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ImageError, match="Expected"):
        SignalReading(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("library", "name"), [("wfdb", "x.hea"), ("pyedflib", "x.edf"), ("pydicom", "x.dcm")])
def test_a_library_that_is_not_installed_is_one_line_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, name: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImageError, match=rf"need {library}: pip install 'camtool\[signals\]'") as raised:
        read_signal(tmp_path / name)
    assert "\n" not in str(raised.value)
