"""Files of every format, damaged in every way, on the command line: explained as if whole, or one line and exit code 2."""

import bz2
import gzip
import io
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from camtool.io.volumes import Geometry, Volume, encode_volume
from tests.cli.fixtures import Finished, Run
from tests.cli.test_wrong_inputs import NETWORKS, csv, nifti, npz
from tests.io.signals import files as signals
from tests.io.volumes.test_stacks import stack
from tests.io.volumes.volume_files import meta, nrrd_file, voxels, write_dicom

SHAPE = (12, 10, 8)
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
BLOCK = voxels(np.random.default_rng(0), SHAPE)
RECORD = signals.drawn(2, 640)


def _encoded(path: Path) -> Path:
    kind = ".nii.gz" if path.suffix == ".gz" else path.suffix
    path.write_bytes(encode_volume(BLOCK.astype(np.float32), Volume(BLOCK, Geometry(AFFINE), "scan"), kind))
    return path


def _meta_beside(path: Path) -> Path:
    (path.parent / "voxels.raw").write_bytes(BLOCK.astype("<i2").tobytes(order="F"))
    meta(path, b"", DimSize="12 10 8", ElementDataFile="voxels.raw")
    return path.parent / "voxels.raw"


def _nrrd_beside(path: Path) -> Path:
    (path.parent / "voxels.gz").write_bytes(gzip.compress(BLOCK.astype("<i2").tobytes(order="F")))
    nrrd_file(path, b"", sizes="12 10 8", encoding="gzip", data_file="voxels.gz")
    return path.parent / "voxels.gz"


def _pair(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Pair(BLOCK, AFFINE), path)
    return path.with_suffix(".img")


def _array(path: Path) -> Path:
    np.save(path, BLOCK)
    return path


def _series(path: Path) -> Path:
    write_dicom(path, BLOCK, AFFINE)
    return path / "slice003.dcm"


def _record(path: Path) -> Path:
    np.save(path, RECORD)
    return path


def _records(path: Path) -> Path:
    path.write_bytes(npz(ecg=RECORD, fs=np.array(signals.RATE)))
    return path


def _recorded(path: Path) -> Path:
    signals.write_wfdb(path.with_suffix(""), RECORD)
    return path.with_suffix(".dat")


FORMATS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    **dict.fromkeys(("a.nii", "a.nii.gz", "a.mha", "a.nrrd"), ("volumes", _encoded)),
    "a.hdr": ("volumes", _pair),
    "a.mhd": ("volumes", _meta_beside),
    "a.nhdr": ("volumes", _nrrd_beside),
    "a.tif": ("volumes", lambda path: stack(path, BLOCK.astype(np.uint8), compression="tiff_lzw")),
    "a.npy": ("volumes", _array),
    "series": ("volumes", _series),
    "r.csv": ("signals", lambda path: signals.write_table(path, RECORD)),
    "r.npy": ("signals", _record),
    "r.npz": ("signals", _records),
    "r.wav": ("signals", lambda path: signals.write_wav(path, RECORD, "16")),
    "r.edf": ("signals", lambda path: signals.write_edf(path, {"I": (RECORD[0], 250), "II": (RECORD[1], 250)})),
    "r.hea": ("signals", _recorded),
    "r.dcm": ("signals", lambda path: signals.write_dicom(path, {"RHYTHM": np.round(RECORD * 1e4)})),
}
"""By name of what is read: the kind of the network's input, and what writes it and returns the file that is damaged."""

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "its start": lambda content: content[: len(content) // 20],
    "its half": lambda content: content[: len(content) // 2],
    "all but a little": lambda content: content[:-8],
    "text": lambda content: b"I am a scan, believe me.\n" * (len(content) // 25),
    "zeros": lambda content: bytes(len(content)),
    "other bytes in the middle": lambda content: content[: len(content) // 2] + b"\xff\x00\x13" * 9 + content[len(content) // 2 + 27 :],
    "the same again": lambda content: content + content,
    "no line ends": lambda content: content.replace(b"\n", b" "),
}
CUT = ("empty", "its start", "its half", "all but a little", "text")
"""Damages after which nothing is what it was."""
STILL_WHOLE = {*(("r.csv", damage) for damage in CUT[1:4]), ("a.tif", "all but a little")}
"""A table of fewer lines is a table; the last bytes of a TIFF file are none of its pixels."""


@pytest.fixture
def explained(run: Run, tmp_path: Path) -> Callable[..., Finished]:
    """Return a function that explains a file; what is refused says so in one line and leaves nothing behind."""
    (tmp_path / "networks.py").write_text(NETWORKS)

    def explain(kind: str, name: str, *given: Any) -> Finished:
        model = {"type": "camtool.TorchModel", "factory": f"networks.py:{kind}", "with_weights": True, "preprocess": {}}
        (tmp_path / "c.py").write_text(f"model = {model!r}\ninput = dict(kind={kind[:-1]!r})\n")
        before = sorted(tmp_path.rglob("*"))
        finished = run("vis", name, "c.py", "--save-raw", "map.npz", "-o", "map.png", *given)
        if finished.exit_code == 0:
            return finished
        assert finished.exit_code == 2, finished.stderr
        assert finished.stderr.startswith("Error: ")
        assert finished.stderr.count("\n") == 1, finished.stderr
        assert len(finished.stderr) < 800
        assert "\x1b" not in finished.stderr
        assert sorted(tmp_path.rglob("*")) == before
        return finished

    return explain


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_refused_in_one_line(explained: Any, tmp_path: Path, name: str) -> None:
    kind, make = FORMATS[name]
    file = make(tmp_path / name)
    content = file.read_bytes()
    assert explained(kind, name).exit_code == 0

    for damage, change in DAMAGES.items():
        file.write_bytes(change(content))
        code = explained(kind, name).exit_code
        assert damage not in CUT or code == (0 if (name, damage) in STILL_WHOLE else 2), damage


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "series"])
def test_a_file_under_another_suffix_is_read_as_what_it_is_or_refused(explained: Any, tmp_path: Path, name: str) -> None:
    kind, make = FORMATS[name]
    make(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert explained(kind, name).exit_code == 0
    scores = np.load(tmp_path / "map.npz")["logits"]

    for suffix in sorted({"." + other.partition(".")[2] for other in FORMATS if "." in other} - {Path(name).suffix}):
        (tmp_path / f"wrong{suffix}").write_bytes(content)
        if explained(kind, f"wrong{suffix}").exit_code == 0:
            np.testing.assert_array_equal(np.load(tmp_path / "map.npz")["logits"], scores)


BOMB = bytes(60_000_000)
BOMBS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a.nii.gz": ("volumes", lambda path: path.write_bytes(gzip.compress(nifti(BLOCK) + BOMB))),
    "a.mha": ("volumes", lambda path: meta(path, zlib.compress(BOMB), CompressedData="True")),
    "a.nrrd": ("volumes", lambda path: nrrd_file(path, gzip.compress(BOMB), encoding="gzip")),
    "b.nrrd": ("volumes", lambda path: nrrd_file(path, bz2.compress(BOMB), encoding="bzip2")),
    "r.npz": ("signals", lambda path: path.write_bytes(_zipped(BOMB))),
    "r.csv.gz": ("signals", lambda path: path.write_bytes(gzip.compress(csv(640) + BOMB))),
}


def _zipped(content: bytes) -> bytes:
    """Return an archive with an array that is said to be large, and is."""
    header, buffer = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2, 500_000_000)})
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ecg.npy", header.getvalue() + content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(explained: Any, tmp_path: Path, name: str) -> None:
    kind, make = BOMBS[name]
    make(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 100_000
    assert explained("volumes", _small(tmp_path)).exit_code == 0  # what is imported or kept for later is no part of it
    tracemalloc.start()
    try:
        finished = explained(kind, name)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert finished.exit_code == 2
    assert most < len(BOMB) / 2


def _small(folder: Path) -> str:
    (folder / "small.nii").write_bytes(nifti(BLOCK))
    return "small.nii"


def _slices(path: Path, **fields: Any) -> None:
    write_dicom(path, BLOCK, AFFINE, **fields)


def _two_series(path: Path) -> None:
    _slices(path)
    write_dicom(path, BLOCK, AFFINE, names=range(50, 58), SeriesNumber=4)


def _missing_slice(path: Path) -> None:
    _slices(path)
    (path / "slice003.dcm").unlink()


def _five(path: Path) -> None:
    values = np.zeros((*SHAPE, 2, 3), np.float32)
    values[..., 1, 2] = BLOCK
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)


def _with_nan(path: Path) -> None:
    values = BLOCK.astype(np.float32)
    values[2, 3, 4] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)


def _table(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


NOT_SO: dict[str, tuple[str, str, Callable[[Path], object], list[str], list[Any]]] = {
    "four axes": (
        "volumes",
        "a.nii",
        lambda path: nibabel.save(nibabel.Nifti1Image(np.stack([BLOCK, BLOCK], -1), AFFINE), path),
        ["has 4 axes, 12x10x8x2; expected three. Say which of its volumes is read, 2 along axis 3", "(--volume 0)"],
        ["--volume", 1],
    ),
    "five axes": ("volumes", "a.nii", _five, ["2 along axis 3 and 3 along axis 4", "(--volume 0 0)"], ["--volume", 1, 2]),
    "NaN": ("volumes", "a.nii", _with_nan, ["1 voxels that are NaN", "--nan-as 0"], ["--nan-as", 0]),
    "two series": ("volumes", "series", _two_series, ["2 series: 3 'thin slices' of 8 slices, 4 ", "(--series 3)"], ["--series", 3]),
    "a missing slice": ("volumes", "series", _missing_slice, ["slice"], []),
    "mixed spacing": (
        "volumes",
        "series",
        lambda path: _slices(path, PixelSpacing=lambda z: ["1", "1" if z else "2"]),
        ["spacing"],
        [],
    ),
    "slopes beyond float32": (
        "volumes",
        "series",
        lambda path: _slices(path, RescaleSlope=lambda z: "1e38" if z == 3 else "1"),
        ["slope 1e+38", "finite numbers"],
        [],
    ),
    "a slope beyond 16 bits": ("volumes", "a.mha", lambda path: meta(path, ElementToIntensityFunctionSlope="1e300"), ["infinite"], []),
    "text in a table": ("signals", "r.csv", _table(csv(300) + b"\n0.5,abc\n" + csv(300)), ["Line 301", "'abc'"], []),
    "a gap in a table": ("signals", "r.csv", _table(csv(300) + b"\n,0.5\n" + csv(300)), ["--fill linear"], ["--fill", "linear"]),
    "another delimiter": ("signals", "r.csv", _table(csv(300).replace(b",", b"|")), ["separated by , ; tabs or spaces"], []),
    "no sampling rate": (
        "signals",
        "r.csv",
        _table(csv(300)),
        ["says nothing of its sampling rate", "--sampling-rate HZ"],
        ["--sampling-rate", 100],
    ),
    "shorter than the stride": ("signals", "r.csv", _table(csv(7)), ["called with (1, 2, 7)"], []),
}
"""Inputs that are not what the network takes: kind, name, what writes it, what is said, and the options by which it is read, if any."""


@pytest.mark.parametrize("case", NOT_SO)
def test_what_is_not_as_expected_is_refused_with_the_way_out(explained: Any, tmp_path: Path, case: str) -> None:
    kind, name, make, said, way_out = NOT_SO[case]
    make(tmp_path / name)
    span = ["--duration", 1] if case == "no sampling rate" else []

    refused = explained(kind, name, *span)

    assert refused.exit_code == 2
    for text in said:
        assert text in refused.stderr
    if way_out:
        assert explained(kind, name, *span, *way_out).exit_code == 0


@pytest.mark.parametrize("moved", ["another size", "another place"])
def test_a_mask_that_lies_elsewhere_is_refused_unless_it_is_to_be_resampled(explained: Any, tmp_path: Path, moved: str) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(BLOCK))
    (tmp_path / "segment.py").write_text(
        "import torch\nfrom torch import nn\n\ndef volumes():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1))\n"
    )
    shape, step = ((6, 5, 4), 2.0) if moved == "another size" else (SHAPE, 1.5)
    mask = Volume(np.zeros(shape), Geometry(np.diag([step, step, step, 1.0])), "mask")
    (tmp_path / "mask.nii").write_bytes(encode_volume(np.ones(shape, np.float32), mask, ".nii"))
    given = ["--mask", "mask.nii", "--target-category", 1, "--cfg-options", "model.factory=segment.py:volumes"]

    refused = explained("volumes", "a.nii", *given)

    assert refused.exit_code == 2
    assert ("expected the same voxels" if moved == "another size" else "voxels off") in refused.stderr
    assert "--resample-mask" in refused.stderr
    assert explained("volumes", "a.nii", *given, "--resample-mask").exit_code == 0
