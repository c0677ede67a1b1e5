"""A folder of DICOM files is the volume that was cut into them, and one that is no grid is refused by what is wrong with it."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, EnhancedSRStorage, JPEGLSLossless, RLELossless, generate_uid

from camtool.errors import ImageError
from camtool.io.volumes import VolumeReading, is_volume, read_volume
from tests.io.volumes.volume_files import apart, itk_affine, random_affine, voxels, write_dicom

SHAPE = (5, 4, 6)


def grid(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return values and an affine whose third axis is the normal of its slices."""
    draw = np.random.default_rng(seed)
    affine = random_affine(draw)
    affine[:3, 2] *= np.sign(np.linalg.det(affine[:3, :3]))
    return voxels(draw, SHAPE), affine


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    values, affine = grid()
    write_dicom(tmp_path / "ct", values, affine)
    return tmp_path / "ct"


def refused(folder: Path, reading: VolumeReading | None = None) -> str:
    """Return the one line by which a folder is refused."""
    with pytest.raises(ImageError) as caught:
        read_volume(folder, reading or VolumeReading())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(path: Path, **fields: Any) -> None:
    """Set or, given None, remove fields of a file."""
    content = pydicom.dcmread(path)
    for name, value in fields.items():
        if value is None:
            delattr(content, name)
        else:
            setattr(content, name, value)
    content.save_as(path)


@pytest.mark.parametrize("seed", range(5))
def test_slices_are_sorted_by_where_they_lie_as_itk_sorts_them(tmp_path: Path, seed: int) -> None:
    values, affine = grid(seed)
    names = np.random.default_rng(seed).permutation(SHAPE[2]).tolist()
    write_dicom(tmp_path / "ct", values, affine, names=names, InstanceNumber=lambda z: SHAPE[2] - z)
    volume = read_volume(tmp_path / "ct")
    assert volume.geometry is not None
    assert np.array_equal(volume.values, values)
    assert apart(affine, volume.geometry.affine, SHAPE) < 1e-3

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    theirs = reader.Execute()
    assert np.array_equal(SimpleITK.GetArrayFromImage(theirs).T, volume.values)
    assert apart(itk_affine(theirs), volume.geometry.affine, SHAPE) < 1e-3


def test_each_slice_is_rescaled_as_it_says(tmp_path: Path) -> None:
    values, affine = grid()
    write_dicom(tmp_path / "pet", values, affine, RescaleSlope=lambda z: str(0.5 + z), RescaleIntercept="-1024")
    expected = values * (0.5 + np.arange(SHAPE[2])) - 1024
    assert np.array_equal(read_volume(tmp_path / "pet").values, expected.astype(np.float32))


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "ct", *grid(), RescaleSlope="1e38")
    assert "slope 1e+38" in refused(tmp_path / "ct")


def test_other_files_are_left_out(scan: Path) -> None:
    (scan / "notes.txt").write_text("a note")
    (scan / ".hidden.dcm").write_bytes(b"")
    (scan / "folder").mkdir()
    report = pydicom.dcmread(scan / "slice000.dcm")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = EnhancedSRStorage
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.save_as(scan / "report")
    assert read_volume(scan).shape == SHAPE
    assert is_volume(scan)
    assert not is_volume(scan / "folder")


def test_one_of_several_series_is_chosen_by_number_description_or_uid(scan: Path, tmp_path: Path) -> None:
    values, affine = grid(1)
    write_dicom(tmp_path / "second", values, affine, SeriesNumber=8, SeriesDescription="thick slices", RescaleIntercept="1000")
    for path in sorted((tmp_path / "second").iterdir()):
        shutil.copy(path, scan / f"other{path.name}")
    message = refused(scan)
    assert "2 series" in message
    assert "3 'thin slices' of 6 slices, 8 'thick slices' of 6 slices" in message or "8 'thick slices' of 6 slices, 3" in message
    uid = pydicom.dcmread(scan / "otherslice000.dcm").SeriesInstanceUID
    for asked in (8, "8", "thick slices", str(uid)):
        assert read_volume(scan, VolumeReading(series=asked)).values.min() >= 1000
    assert read_volume(scan, VolumeReading(series=3)).values.max() < 1000
    assert "no series '4'" in refused(scan, VolumeReading(series=4))


@pytest.mark.parametrize(("lost", "said"), [([2], "1 slice missing"), ([2, 3], "2 slices missing")])
def test_a_missing_slice_is_named_by_its_neighbours(scan: Path, lost: list[int], said: str) -> None:
    for number in lost:
        (scan / f"slice{number:03d}.dcm").unlink()
    message = refused(scan)
    assert said in message
    assert f"'slice001.dcm' and 'slice{lost[-1] + 1:03d}.dcm'" in message


def test_a_slice_that_lies_twice_is_refused(scan: Path) -> None:
    shutil.copy(scan / "slice002.dcm", scan / "copy.dcm")
    assert "several slices at one place" in refused(scan)


def test_uneven_steps_are_refused_and_rounded_ones_are_not(tmp_path: Path) -> None:
    values, affine = grid()
    normal = np.diag([-1, -1, 1]) @ affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    start, step = np.diag([-1, -1, 1]) @ affine[:3, 3], float(np.linalg.norm(affine[:3, 2]))

    def at(z: int, off: float) -> list[float]:
        return [round(float(number), 8) for number in start + normal * step * (z + off * (z == 3))]

    write_dicom(tmp_path / "rounded", values, affine, ImagePositionPatient=lambda z: at(z, 0.02))
    assert read_volume(tmp_path / "rounded").shape == SHAPE
    write_dicom(tmp_path / "uneven", values, affine, ImagePositionPatient=lambda z: at(z, 0.08))
    assert "expected equal" in refused(tmp_path / "uneven")


def test_slices_that_move_aside_are_refused(tmp_path: Path) -> None:
    values, affine = grid()
    aside = np.diag([-1, -1, 1]) @ affine[:3, 0]

    def at(z: int) -> list[float]:
        place = np.diag([-1, -1, 1]) @ (affine[:3, 3] + z * affine[:3, 2]) + aside * (z == 3)
        return [round(float(number), 8) for number in place]

    write_dicom(tmp_path / "ct", values, affine, ImagePositionPatient=at)
    assert "off a grid" in refused(tmp_path / "ct")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"PixelSpacing": [3.0, 2.0]}, "slices of the spacings"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "different orientation"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "expected a grid in space"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "expected a grid in space"),
        ({"PixelSpacing": [0, 1]}, "expected a grid in space"),
        ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
        ({"Rows": 5}, "slices of 5x4 and 5x5 pixels"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"NumberOfFrames": 7}, "7 frames"),
        ({"PixelData": None}, "no pixels"),
        ({"PixelData": b"\0" * 10}, "truncated or damaged"),
        ({"BitsAllocated": 7}, "damaged"),
    ],
)
def test_a_slice_unlike_the_others_is_refused(scan: Path, fields: dict[str, Any], said: str) -> None:
    change(scan / "slice003.dcm", **fields)
    assert said in refused(scan)


def test_truncated_files_and_files_that_are_none_are_named(scan: Path) -> None:
    whole = (scan / "slice003.dcm").read_bytes()
    for length in (133, 400, len(whole) - 20):
        (scan / "slice003.dcm").write_bytes(whole[:length])
        message = refused(scan)
        assert "slice003.dcm" in message or "missing" in message
    for content in (b"", b"no DICOM" * 40):
        (scan / "slice003.dcm").write_bytes(content)
        assert "slice003.dcm' is no DICOM file" in refused(scan)


def test_a_folder_without_pictures_is_refused(tmp_path: Path, scan: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no DICOM file" in refused(tmp_path / "empty")
    assert "one DICOM file; expected the folder" in refused(scan / "slice000.dcm")


def test_compression_that_nothing_decodes_is_named_and_what_is_decoded_is_read(scan: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in scan.iterdir():
        content = pydicom.dcmread(path)
        content.compress(RLELossless)
        content.save_as(packed / path.name)
    assert np.array_equal(read_volume(packed).values, read_volume(scan).values)
    content = pydicom.dcmread(packed / "slice002.dcm")
    content.file_meta.TransferSyntaxUID = JPEGLSLossless
    content.save_as(packed / "slice002.dcm")
    assert "compressed as JPEG-LS" in refused(packed)


def test_what_is_deflated_as_a_whole_is_refused_before_it_is_inflated(scan: Path) -> None:
    content = pydicom.dcmread(scan / "slice002.dcm")
    content.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content.save_as(scan / "slice002.dcm")
    assert "deflated" in refused(scan)


def test_too_many_voxels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    values = voxels(np.random.default_rng(0), (40, 30, 6))
    write_dicom(tmp_path / "ct", values, grid()[1])
    needed = values.size * 6
    (tmp_path / "ct" / "slice000.dcm").write_bytes((tmp_path / "ct" / "slice000.dcm").read_bytes()[:-100])
    assert f"max_bytes={needed}" in refused(tmp_path / "ct", VolumeReading(max_bytes=needed - 1))
    assert "truncated" in refused(tmp_path / "ct", VolumeReading(max_bytes=needed))
    assert "slice000.dcm' has" in refused(tmp_path / "ct", VolumeReading(max_bytes=2000))


def test_one_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    values, affine = grid()
    write_dicom(tmp_path / "ct", values[..., :1], affine, SliceThickness="2.5")
    volume = read_volume(tmp_path / "ct")
    assert volume.geometry is not None
    assert volume.shape == (5, 4, 1)
    assert np.isclose(volume.geometry.spacing[2], 2.5)
    write_dicom(tmp_path / "ct", values[..., :1], affine)
    assert "no thickness" in refused(tmp_path / "ct")


def test_a_table_of_values_is_applied(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [128, 0, 16], np.arange(1000, 1128).astype("<u2").tobytes()
    values, affine = grid()
    write_dicom(tmp_path / "ct", values, affine, ModalityLUTSequence=[table], PixelRepresentation=0)
    assert np.array_equal(read_volume(tmp_path / "ct").values, values + 1000.0)


def test_a_missing_library_is_named_with_its_extra(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "pip install 'camtool[medical]'" in refused(scan)


def test_spacing_is_not_given_twice(scan: Path) -> None:
    assert "states its own spacing" in refused(scan, VolumeReading(spacing=(1.0, 1.0, 1.0)))


def test_series_of_one_number_are_known_by_their_uid(scan: Path, tmp_path: Path) -> None:
    values, affine = grid()
    write_dicom(scan, values, affine, names=range(50, 56))
    uids = [str(pydicom.dcmread(scan / f"slice0{number}.dcm").SeriesInstanceUID) for number in ("00", "50")]
    message = refused(scan)
    assert f"of 6 slices ({uids[0]}), 3 'thin slices' of 6 slices ({uids[1]})" in message
    assert f"(--series {uids[0]})" in message
    assert "has 2 series '3'" in refused(scan, VolumeReading(series=3))
    assert np.array_equal(read_volume(scan, VolumeReading(series=uids[1])).values, values)


def test_several_studies_are_several_series(scan: Path) -> None:
    change(scan / "slice003.dcm", SeriesInstanceUID=generate_uid())
    assert "of 5 slices" in refused(scan)
