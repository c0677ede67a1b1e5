"""Whatever a file has in it, it is read, or refused in one line; what cannot be written leaves nothing behind."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtool.errors import CamtoolError, ImageError, OutputError
from camtool.io.volumes import SUFFIXES, Geometry, Volume, VolumeReading, encode_volume, is_volume, kind_for, read_volume, write_volume
from tests.io.volumes.test_stacks import stack
from tests.io.volumes.volume_files import random_affine, voxels, write_dicom, write_nifti

SHAPE = (5, 4, 3)


def _saved(path: Path) -> None:
    np.save(path, voxels(np.random.default_rng(0), SHAPE))


def _stacked(path: Path) -> None:
    stack(path, voxels(np.random.default_rng(0), SHAPE, np.uint8), compression="tiff_lzw")


def _written(path: Path) -> None:
    scan = Volume(np.zeros(SHAPE), Geometry(random_affine(np.random.default_rng(0))), "scan")
    write_volume(path, voxels(np.random.default_rng(0), SHAPE), scan)


def _scanned(path: Path) -> None:
    write_nifti(path, voxels(np.random.default_rng(0), SHAPE), random_affine(np.random.default_rng(0)))


def _series(folder: Path) -> None:
    affine = random_affine(np.random.default_rng(0))
    affine[:3, 2] *= np.sign(np.linalg.det(affine[:3, :3]))
    write_dicom(folder, voxels(np.random.default_rng(0), SHAPE), affine)


FILES: dict[str, Callable[[Path], None]] = {
    "a.nii": _scanned, "a.nii.gz": _written, "a.mha": _written, "a.nrrd": _written, "a.tif": _stacked, "a.npy": _saved, "series": _series,
}  # fmt: skip


@pytest.fixture(params=FILES)
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A path to read, and the file of it to be damaged."""
    path = tmp_path / request.param
    FILES[request.param](path)
    return path, path / "slice001.dcm" if path.is_dir() else path


def _read(path: Path, reading: VolumeReading | None = None) -> Volume | None:
    """Return the volume, or None if it is refused in one line."""
    try:
        volume = read_volume(path, reading or VolumeReading(max_bytes=20_000_000))
    except ImageError as error:
        said = str(error)
    else:
        assert np.isfinite(volume.values).all()
        return volume
    assert "\n" not in said
    assert len(said) < 800
    return None


def test_every_beginning_of_a_file_is_refused_or_all_that_counts(whole: tuple[Path, Path]) -> None:
    path, file = whole
    volume = _read(path)
    assert volume is not None
    content = file.read_bytes()
    for length in sorted({*range(0, 40, 3), *range(40, len(content), max(1, len(content) // 60)), len(content) - 1}):
        file.write_bytes(content[:length])
        part = _read(path)
        assert part is None or (path.suffix == ".tif" and length > 450 and np.array_equal(part.values, volume.values)), length


def test_a_file_with_any_bytes_changed_is_read_or_refused(whole: tuple[Path, Path]) -> None:
    path, file = whole
    content = file.read_bytes()
    draw = np.random.default_rng(0)
    read = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(int(draw.integers(1, 5))):
            damaged[int(draw.integers(len(damaged) if draw.random() < 0.5 else min(len(damaged), 400)))] = int(draw.integers(256))
        file.write_bytes(damaged)
        read += _read(path) is not None
    assert read < 150


def test_words_of_a_header_exchanged_are_read_or_refused(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    words = [b"0", b"-1", b"1e400", b"nan", b"", b"LOCAL", b"(1,2", b"none", b"\xff", b"True", b"9" * 30, b": ", b"=", b"\0"]
    for name in ("a.mha", "a.nrrd"):
        path = tmp_path / name
        _written(path)
        content = path.read_bytes()
        head, mark, tail = content.partition(b"ElementDataFile" if name == "a.mha" else b"\n\n")
        lines = head.split(b"\n")
        for _ in range(300):
            chosen = list(lines)
            line = int(draw.integers(len(chosen)))
            parts = chosen[line].split(b" ")
            parts[int(draw.integers(len(parts)))] = words[int(draw.integers(len(words)))]
            chosen[line] = b" ".join(parts)
            path.write_bytes(b"\n".join(chosen) + mark + tail)
            _read(path)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".txt", ""])
def test_files_of_another_content_are_refused(tmp_path: Path, suffix: str) -> None:
    for content in (b"", b"\0" * 400, b"\x1f\x8b", b"\x1f\x8b" + b"x" * 50, b"hello\nworld\n" * 50, bytes(range(256)) * 4):
        (tmp_path / f"scan{suffix}").write_bytes(content)
        assert _read(tmp_path / f"scan{suffix}") is None


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    _saved(tmp_path / "heads.npy")
    with pytest.raises(ImageError, match=r"No volume .*closest: .*heads\.npy"):
        read_volume(tmp_path / "head.npy")


def test_folders_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "listdir", denied)
    assert not is_volume(tmp_path)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read_volume(tmp_path)


def test_names_and_folders_tell_volumes_from_pictures(tmp_path: Path) -> None:
    _series(tmp_path / "series")
    names = ("a.nii", "A.NII.GZ", "a.mhd", "a.nrrd", "a.nhdr", "a.img", "series", "cat.jpg", "a.tif", "a.npy", "nothing")
    assert [name for name in names if is_volume(tmp_path / name)] == list(names[:7])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (".nii", ".nii"),
        (".nii.gz", ".nii.gz"),
        (".img", ".nii.gz"),
        (".mhd", ".mha"),
        (".nhdr", ".nrrd"),
        (".dcm", ".nii.gz"),
        ("", ".nii.gz"),
    ],
)
def test_a_map_is_of_its_scans_kind(kind: str, expected: str) -> None:
    assert kind_for(Volume(np.zeros(SHAPE), None, "scan", kind)) == expected


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    scan = Volume(np.zeros(SHAPE), None, "scan")
    bad: list[tuple[str, np.ndarray, str]] = [
        ("map.png", np.zeros(SHAPE), "ends in .nii.gz"),
        ("map", np.zeros(SHAPE), "ends in"),
        ("map.nii", np.zeros((4, 5, 3)), "the size of 'scan', 5x4x3, got one of 4x5x3"),
        ("map.nii", np.zeros(SHAPE[:2]), "got one of 5x4"),
        ("scan.nii/map.mha", np.zeros(SHAPE), "Cannot write"),
    ]
    (tmp_path / "scan.nii").touch()
    for name, values, said in bad:
        with pytest.raises(OutputError, match=said):
            write_volume(tmp_path / name, values, scan)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii"]
    with pytest.raises(OutputError, match=r"Cannot write a volume as '\.dcm'"):
        encode_volume(np.zeros(SHAPE), scan, ".dcm")


@pytest.mark.parametrize(
    "setting",
    [
        {"spacing": (1, 1)}, {"spacing": (1, 1, 0)}, {"spacing": (1, 1, float("nan"))}, {"spacing": (1, 1, True)}, {"volume": -1},
        {"volume": ()}, {"volume": True}, {"volume_axis": -1}, {"nan_as": float("inf")}, {"max_bytes": 0},
    ],
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(CamtoolError, match=f"Expected {next(iter(setting))} as"):
        VolumeReading(**setting)


def test_voxels_of_any_size_have_an_inverse_and_flat_ones_have_none() -> None:
    for size in (1e-6, 1e6):
        assert np.allclose(Geometry.of_spacing((size, size, size)).spacing, size)
    for affine in (np.diag([1.0, 0, 1, 1]), np.array([[1.0, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])):
        with pytest.raises(ImageError, match="an inverse"):
            Geometry(affine)
