"""Wrong signals and volumes on the command line: one readable line, exit code 2, and nothing is written."""

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtool.io.volumes import Geometry, Volume, encode_volume
from tests.cli.fixtures import Run

NETWORKS = """
import torch
from torch import nn


def signals():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 16, stride=16), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))


def volumes():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))
"""


def npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def csv(rows: int, line: str = "0.5,0.25") -> bytes:
    return "\n".join([line] * rows).encode()


def wav(data: bytes, *, bits: int = 16, channels: int = 2, rate: int = 100) -> bytes:
    block = bits // 8 * channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * block, block, bits)
    return struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE") + form + struct.pack("<4sI", b"data", 10 * len(data) + 8) + data


SIGNALS: dict[str, tuple[str, bytes, list[Any], str]] = {
    "shorter than the stride": ("a.csv", csv(7), [], "called with (1, 2, 7)"),
    "another delimiter in the middle": ("a.csv", csv(40) + b"\n1;2\n" + csv(40), [], "Line 41"),
    "a column less in the last line": ("a.csv", csv(40) + b"\n0.5", [], "Line 41"),
    "three axes": ("a.npy", npy(np.zeros((2, 2, 64))), [], "(2, 2, 64)"),
    "complex numbers": ("a.npy", npy(np.zeros((2, 64), complex)), [], "complex"),
    "text in an array": ("a.npy", npy(np.array(["a", "b"])), [], "expected numbers"),
    "a truncated array": ("a.npy", npy(np.zeros((2, 640)))[:-100], [], "truncated or damaged"),
    "no array at all": ("a.npz", npz(), [], "no array of numbers"),
    "a negative rate in the archive": ("a.npz", npz(x=np.zeros((2, 64)), fs=np.array(-3.0)), [], "sampling rate"),
    "no sound": ("a.wav", b"RIFF\x00\x00\x00\x00WAVE", [], "a.wav"),
    "no EDF": ("a.edf", b"0" * 400, [], "a.edf"),
    "three channels": ("a.csv", csv(64, "1,2,3"), [], "expected input"),
    "a duration behind the end": ("a.csv", csv(64), ["--sampling-rate", 10, "--start", 2, "--duration", 9], "6.4 s long"),
    "another rate than the file's": ("a.npz", npz(x=np.zeros((2, 64)), fs=np.array(100.0)), ["--sampling-rate", 50], "100 Hz"),
    "a channel twice": ("a.csv", csv(64), ["--channels", 0, 0], "twice"),
    "a folder as a record": ("a.csv", csv(64), ["--window", 9000, "--overlap", 3], "overlap"),
    "an infinite value": ("a.csv", csv(32) + b"\ninf,1\n" + csv(32), [], "--fill linear"),
    "a part of a table": ("a.csv", csv(64), ["--part", "ecg"], "--part"),
    "bytes that are no text": ("a.csv", b"\x00\xff\x81" * 100, [], "a.csv"),
}


def nifti(values: np.ndarray, *, slope: float = 1.0, shape: tuple[int, ...] = ()) -> bytes:
    """Return a NIfTI file, perhaps with a slope or a shape that its header only says."""
    volume = Volume(np.zeros(values.shape[:3], np.float32), Geometry.of_spacing((1, 1, 1)), "a.nii")
    content = bytearray(encode_volume(np.asarray(values, np.float32), volume, ".nii"))
    content[112:116] = struct.pack("<f", slope)
    if shape:
        content[40:56] = struct.pack("<8h", len(shape), *shape, *[1] * (7 - len(shape)))
    return bytes(content)


BLOCK = np.random.default_rng(0).random((12, 10, 8)).astype(np.float32)
VOLUMES: dict[str, tuple[str, bytes, list[Any], str]] = {
    "too small for the network": ("a.nii", nifti(BLOCK[:3, :3, :3]), [], "called with (1, 1, 3, 3, 3)"),
    "truncated": ("a.nii", nifti(BLOCK)[:-200], [], "truncated"),
    "a shape that is larger than the file": ("a.nii", nifti(BLOCK, shape=(3000, 3000, 3000)), [], "a.nii"),
    "a negative side": ("a.nii", nifti(BLOCK, shape=(-4, 10, 8)), [], "a.nii"),
    "a slope that overflows": ("a.nii", nifti(BLOCK * 10, slope=3e38), [], "infinite"),
    "a gzip bomb": ("a.nii.gz", gzip.compress(nifti(BLOCK) + bytes(60_000_000)), [], "a.nii.gz"),
    "two axes": ("a.npy", npy(BLOCK[0]), [], "expected three"),
    "objects": ("a.npy", npy(np.array([{}, None], object)), [], "a.npy"),
    "a header that ends": ("a.nrrd", b"NRRD0004\ntype: float\ndimension: 3\n", [], "a.nrrd"),
    "data outside of the folder": (
        "a.mhd",
        b"NDims = 3\nDimSize = 4 4 4\nElementType = MET_FLOAT\nElementDataFile = ../../x.raw\n",
        [],
        "a.mhd",
    ),
    "no voxels": ("a.nii", nifti(BLOCK, shape=(0, 10, 8)), [], "a.nii"),
    "a spacing of zero": ("a.npy", npy(BLOCK), ["--spacing", 1, 0, 1], "spacing"),
    "a window of four axes": ("a.nii", nifti(BLOCK), ["--window", 4, 4, 4, 4], "window"),
    "a signal's option": ("a.nii", nifti(BLOCK), ["--fill", 0], "--fill is an option of signals"),
    "a volume that is not there": ("a.npy", npy(np.stack([BLOCK, BLOCK])), ["--volume-axis", 0, "--volume", 2], "volume"),
    "a span": ("a.nii", nifti(BLOCK), ["--span", "1:2"], "--span"),
    "more than there is": ("a.nii", nifti(BLOCK), ["--slices", 0], "--slices"),
}


@pytest.fixture
def refused(run: Run, tmp_path: Path) -> Callable[[str, tuple[str, bytes, list[Any], str]], None]:
    """Return a function that explains a wrong input, and checks what is said of it."""
    (tmp_path / "networks.py").write_text(NETWORKS)

    def check(kind: str, case: tuple[str, bytes, list[Any], str]) -> None:
        name, content, given, message = case
        model = {"type": "camtool.TorchModel", "factory": f"networks.py:{kind}", "with_weights": True, "preprocess": {}}
        (tmp_path / "c.py").write_text(f"model = {model!r}\ninput = dict(kind={kind[:-1]!r})\n")
        (tmp_path / name).write_bytes(content)
        before = sorted(tmp_path.iterdir())

        finished = run("vis", tmp_path / name, tmp_path / "c.py", *given)

        assert finished.exit_code == 2, finished.stderr
        assert message in finished.stderr
        assert finished.stderr.startswith("Error: ")
        assert finished.stderr.count("\n") == 1
        assert len(finished.stderr) < 600
        assert sorted(tmp_path.iterdir()) == before

    return check


@pytest.mark.parametrize("case", SIGNALS)
def test_wrong_signals_are_refused_in_one_line(refused: Any, case: str) -> None:
    refused("signals", SIGNALS[case])


@pytest.mark.parametrize("case", VOLUMES)
def test_wrong_volumes_are_refused_in_one_line(refused: Any, case: str) -> None:
    refused("volumes", VOLUMES[case])
