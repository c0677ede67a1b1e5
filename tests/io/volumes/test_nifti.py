"""NIfTI and Analyze files, against nibabel, and those that are refused."""

import gzip
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from camtool.errors import ImageError, OutputError
from camtool.io.volumes import Geometry, Volume, VolumeReading, encode_volume, read_volume, write_volume
from tests.io.volumes.volume_files import apart, itk_read, random_affine, voxels, write_nifti

AFFINE = random_affine(np.random.default_rng(0))
SHAPE = (4, 3, 5)


def refused(path: Path, **reading: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_volume(path, VolumeReading(**reading))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(path: Path, **fields: Any) -> Path:
    """Set fields of a .nii file's header as they are given, and return its path."""
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "scan.nii", voxels(np.random.default_rng(1), SHAPE), AFFINE)
    return tmp_path / "scan.nii"


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_values_are_those_of_nibabel_in_every_type(tmp_path: Path, dtype: str, order: str) -> None:
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype))
    values = voxels(np.random.default_rng(2), SHAPE, dtype)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE, header), tmp_path / "scan.nii")
    assert np.array_equal(read_volume(tmp_path / "scan.nii").values, values.astype(np.float32))


@pytest.mark.parametrize(("slope", "intercept"), [(2.5, -1024), (0, 7), (np.nan, 3), (1, 0), (-1e-3, 1e6)])
def test_slopes_are_applied_as_nibabel_applies_them(scan: Path, slope: float, intercept: float) -> None:
    edited(scan, scl_slope=slope, scl_inter=intercept)
    expected = np.asarray(nibabel.load(scan).get_fdata())
    assert np.array_equal(read_volume(scan).values, expected.astype(np.float32))


def test_integers_do_not_overflow_by_a_slope(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full(SHAPE, 30000, np.int16), AFFINE), tmp_path / "scan.nii")
    assert read_volume(edited(tmp_path / "scan.nii", scl_slope=1000, scl_inter=5)).values.min() == np.float32(30000005)
    assert "infinite by its slope" in refused(edited(tmp_path / "scan.nii", scl_slope=1e38, scl_inter=0))
    assert "damaged" in refused(edited(tmp_path / "scan.nii", scl_slope=1, scl_inter=np.inf))


def test_the_name_does_not_tell_whether_a_file_is_compressed(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.nii.gz").write_bytes(scan.read_bytes())
    (tmp_path / "packed.nii").write_bytes(gzip.compress(scan.read_bytes()))
    (tmp_path / "nameless").write_bytes(scan.read_bytes())
    for name in ("plain.nii.gz", "packed.nii", "nameless"):
        assert np.array_equal(read_volume(tmp_path / name).values, read_volume(scan).values)


@pytest.mark.parametrize("kind", [nibabel.Spm2AnalyzeImage, nibabel.AnalyzeImage, nibabel.Spm99AnalyzeImage])
def test_analyze_files_are_read_as_nibabel_reads_them(tmp_path: Path, kind: Any) -> None:
    image = kind(voxels(np.random.default_rng(3), SHAPE), None)
    image.header.set_zooms((2, 3, 1.5))
    nibabel.save(image, tmp_path / "scan.img")
    (tmp_path / "scan.mat").unlink(missing_ok=True)
    for name in ("scan.img", "scan.hdr"):
        volume = read_volume(tmp_path / name)
        theirs = nibabel.load(tmp_path / name)
        assert volume.geometry is not None
        assert np.array_equal(volume.values, theirs.get_fdata())
        assert np.allclose(volume.geometry.affine, theirs.affine)
    write_volume(tmp_path / "map.nii", volume.values, volume)
    assert apart(theirs.affine, nibabel.load(tmp_path / "map.nii").affine, SHAPE) < 1e-3
    (tmp_path / "scan.mat").write_bytes(b"")
    assert ".mat" in refused(tmp_path / "scan.img")


@pytest.mark.parametrize("end", ["", ".gz"])
def test_two_files_of_a_volume_are_found_by_either(tmp_path: Path, end: str) -> None:
    values = voxels(np.random.default_rng(4), SHAPE)
    write_nifti(tmp_path / f"scan.img{end}", values, AFFINE, kind=nibabel.Nifti1Pair)
    for name in (f"scan.img{end}", f"scan.hdr{end}"):
        assert np.array_equal(read_volume(tmp_path / name).values, values)
    (tmp_path / f"scan.hdr{end}").rename(tmp_path / "elsewhere")
    assert f"expected 'scan.hdr{end}' beside it" in refused(tmp_path / f"scan.img{end}")


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0), ("unknown", 1.0)])
def test_places_are_in_millimetres_as_itks(scan: Path, unit: str, factor: float, tmp_path: Path) -> None:
    header = nibabel.load(scan).header
    header.set_xyzt_units(unit, "sec")
    edited(scan, xyzt_units=header["xyzt_units"])
    volume = read_volume(scan)
    assert volume.geometry is not None
    assert np.allclose(volume.geometry.affine[:3], AFFINE[:3] * factor)
    assert apart(itk_read(scan)[1], volume.geometry.affine, SHAPE) < 1e-3
    write_volume(tmp_path / "map.nii", volume.values, volume)
    assert np.array_equal(nibabel.load(tmp_path / "map.nii").affine, nibabel.load(scan).affine)
    write_volume(tmp_path / "map.mha", volume.values, volume)
    assert apart(itk_read(tmp_path / "map.mha")[1], volume.geometry.affine, SHAPE) < 1e-3


def test_trailing_axes_of_one_entry_are_left_out_and_others_asked_for(tmp_path: Path) -> None:
    values = voxels(np.random.default_rng(5), (*SHAPE, 1, 1))
    write_nifti(tmp_path / "one.nii", values, AFFINE)
    assert np.array_equal(read_volume(tmp_path / "one.nii").values, values[..., 0, 0])
    assert np.array_equal(read_volume(tmp_path / "one.nii", VolumeReading(volume=0)).values, values[..., 0, 0])
    assert "expected 0 numbers" in refused(tmp_path / "one.nii", volume=1)

    values = voxels(np.random.default_rng(6), (*SHAPE, 7))
    write_nifti(tmp_path / "four.nii", values, AFFINE)
    message = refused(tmp_path / "four.nii")
    assert "4 axes, 4x3x5x7" in message
    assert "7 along axis 3: volume=0" in message
    for number in (0, 6):
        assert np.array_equal(read_volume(tmp_path / "four.nii", VolumeReading(volume=number)).values, values[..., number])
    assert "one of 0 to 6, got 7" in refused(tmp_path / "four.nii", volume=7)
    assert "expected 1 numbers" in refused(tmp_path / "four.nii", volume=(1, 2))

    values = voxels(np.random.default_rng(7), (*SHAPE, 2, 3))
    write_nifti(tmp_path / "five.nii", values, AFFINE)
    assert "2 along axis 3 and 3 along axis 4: volume=(0, 0)" in refused(tmp_path / "five.nii")
    volume = read_volume(tmp_path / "five.nii", VolumeReading(volume=(1, 2)))
    assert np.array_equal(volume.values, values[..., 1, 2])
    write_volume(tmp_path / "map.nii", volume.values, volume)
    assert nibabel.load(tmp_path / "map.nii").shape == SHAPE

    values = voxels(np.random.default_rng(8), (*SHAPE, 1, 3))
    write_nifti(tmp_path / "vectors.nii", values, AFFINE)
    assert np.array_equal(read_volume(tmp_path / "vectors.nii", VolumeReading(volume=2)).values, values[..., 0, 2])


def test_pictures_of_two_axes_are_no_volumes(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5), np.int16), AFFINE), tmp_path / "flat.nii")
    assert "2 axes in space" in refused(tmp_path / "flat.nii")


def test_voxels_of_several_numbers_are_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.complex64), AFFINE), tmp_path / "phase.nii")
    assert "complex voxels" in refused(tmp_path / "phase.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), AFFINE), tmp_path / "colour.nii")
    assert "colour voxels" in refused(tmp_path / "colour.nii")


def test_voxels_that_are_no_numbers_are_counted_and_refused_filled_or_kept(tmp_path: Path) -> None:
    values = np.ones(SHAPE, np.float32)
    values[0, 0, :3] = np.nan
    write_nifti(tmp_path / "scan.nii", values, AFFINE)
    assert "3 voxels that are NaN, 5.00% of all" in refused(tmp_path / "scan.nii")
    filled = read_volume(tmp_path / "scan.nii", VolumeReading(nan_as=-7.0)).values
    assert np.array_equal(filled, np.where(np.isnan(values), -7, values))
    assert np.isnan(read_volume(tmp_path / "scan.nii", VolumeReading(nan_as=np.nan)).values).sum() == 3
    values[0, 0, 0] = -np.inf
    write_nifti(tmp_path / "scan.nii", values, AFFINE)
    assert "infinite" in refused(tmp_path / "scan.nii", nan_as=0.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dim": [3, 4, 3, 6, 1, 1, 1, 1]}, "has 120 bytes of voxels; expected 144"),
        ({"dim": [3, 4, 3, 4, 1, 1, 1, 1]}, "more than 96 bytes of voxels"),
        ({"dim": [3, 4, 0, 4, 1, 1, 1, 1]}, "4x0x4"),
        ({"dim": [3, 4, -3, 4, 1, 1, 1, 1]}, "4x-3x4"),
        ({"dim": [9, 4, 3, 5, 1, 1, 1, 1]}, "states 9 axes"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "takes 1.62e+05 GB"),
        ({"datatype": 1234}, "damaged"),
        ({"datatype": 1}, "damaged"),
        ({"bitpix": 8, "datatype": 16}, ""),
        ({"srow_x": [0, 0, 0, 0]}, "no usable geometry"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "no usable geometry"),
        ({"srow_y": [np.inf, 0, 0, 0]}, "no usable geometry"),
        ({"vox_offset": 1e30}, "voxels start at byte"),
        ({"vox_offset": -400}, ""),
        ({"vox_offset": np.nan}, ""),
        ({"magic": b"n+9"}, "no NIfTI file"),
        ({"sizeof_hdr": 999}, ""),
    ],
)
def test_headers_that_disagree_with_the_data_or_state_no_place_are_refused(scan: Path, fields: dict[str, Any], said: str) -> None:
    assert said in refused(edited(scan, **fields))


def test_a_bomb_is_refused_by_its_header_and_others_are_not_unpacked_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = nibabel.Nifti1Header()
    large.set_data_dtype(np.uint8)
    large.set_data_shape((2000, 2000, 1000))
    large["vox_offset"] = 352
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=9) as file:
        file.write(large.binaryblock + bytes(4) + bytes(10_000_000))
    monkeypatch.setattr("camtool.io.volumes.nifti.read_voxels", lambda *_: pytest.fail("voxels were read"))
    assert "2000x2000x1000 and takes 20 GB; expected at most 2 GB" in refused(tmp_path / "bomb.nii.gz")
    assert "max_bytes=20000000000" in refused(tmp_path / "bomb.nii.gz")
    monkeypatch.undo()

    read = 0
    plain_read = gzip.GzipFile.read

    def counted(file: gzip.GzipFile, size: int | None = -1) -> bytes:
        nonlocal read
        content = plain_read(file, size)
        read += len(content)
        return content

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    large.set_data_shape((10, 10, 10))
    with gzip.open(tmp_path / "tail.nii.gz", "wb") as file:
        file.write(large.binaryblock + bytes(4) + bytes(50_000_000))
    assert "more than 1000 bytes" in refused(tmp_path / "tail.nii.gz")
    assert read < 10_000


def test_extensions_are_not_read_and_not_written(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.ones(SHAPE, np.int16), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a name"))
    nibabel.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    assert volume.values.min() == 1
    assert b"a name" not in encode_volume(volume.values, volume, ".nii")


def test_checksums_of_compressed_files_are_checked(scan: Path, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(scan.read_bytes()))
    packed[-8] ^= 255
    (tmp_path / "scan.nii.gz").write_bytes(packed)
    assert "damaged" in refused(tmp_path / "scan.nii.gz")


def test_the_range_to_be_shown_is_that_of_the_finite_values() -> None:
    heat = np.linspace(-2, 5, 60).reshape(SHAPE)
    heat[0] = np.nan
    content = encode_volume(heat, Volume(np.zeros(SHAPE), Geometry(AFFINE), "scan"), ".nii")
    header = nibabel.Nifti1Header(content[:348])
    assert (header["cal_min"], header["cal_max"]) == (np.float32(np.nanmin(heat)), np.float32(5))


def test_more_voxels_along_an_axis_than_nifti1_counts_are_nifti2() -> None:
    shape = (40000, 1, 2)
    content = encode_volume(np.zeros(shape), Volume(np.zeros(shape), Geometry(AFFINE), "scan"), ".nii")
    assert nibabel.Nifti2Image.from_bytes(content).shape == shape


def test_a_missing_library_is_named_with_its_extra(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = read_volume(scan)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert "pip install 'camtool[medical]'" in refused(scan)
    with pytest.raises(OutputError, match=r"pip install 'camtool\[medical\]'"):
        encode_volume(volume.values, volume, ".nii.gz")


def test_spacing_is_not_given_twice(scan: Path) -> None:
    assert "states its own spacing" in refused(scan, spacing=(1.0, 1.0, 1.0))
