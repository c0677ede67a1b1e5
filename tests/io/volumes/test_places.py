"""A map lies over its scan: whatever the scan's format, place and orientation, in whatever format the map is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK

from camtool.io.volumes import KINDS, Geometry, Volume, encode_volume, kind_for, kind_of, read_volume, write_volume
from tests.io.volumes.volume_files import TURN, apart, itk_image, itk_read, random_affine, voxels, write_dicom, write_nifti

SHAPES = [(5, 4, 3), (150, 3, 2), (2, 160, 3), (4, 3, 140), (7, 1, 5), (1, 6, 4)]
NEAR = 1e-3  # voxels


def _by_itk(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    SimpleITK.WriteImage(itk_image(values, affine), str(path))


def _compressed_by_itk(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    SimpleITK.WriteImage(itk_image(values, affine), str(path), True)


def _by_pynrrd(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    fields = {"space": "right-anterior-superior", "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path), values, {**fields, "kinds": ["domain"] * 3, "encoding": "gzip"})


def _only_qform(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    write_nifti(path, values, affine, (1, 0))


def _only_sform(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    write_nifti(path, values, affine, (0, 2))


def _big_endian(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(values, affine, header)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nibabel.save(image, path)


def _nifti2(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    write_nifti(path, values, affine, kind=nibabel.Nifti2Image)


def _pair(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    write_nifti(path, values, affine, kind=nibabel.Nifti1Pair)


WRITERS: dict[str, tuple[str, Callable[[Path, np.ndarray, np.ndarray], None]]] = {
    "NIfTI of nibabel": ("scan.nii.gz", write_nifti),
    "NIfTI with a qform": ("scan.nii", _only_qform),
    "NIfTI with an sform": ("scan.nii", _only_sform),
    "NIfTI, big-endian": ("scan.nii", _big_endian),
    "NIfTI-2": ("scan.nii", _nifti2),
    "NIfTI of two files": ("scan.img", _pair),
    "NIfTI of ITK": ("scan.nii.gz", _by_itk),
    "MetaImage": ("scan.mha", _compressed_by_itk),
    "MetaImage of two files": ("scan.mhd", _by_itk),
    "NRRD of ITK": ("scan.nrrd", _compressed_by_itk),
    "NRRD of two files": ("scan.nhdr", _by_itk),
    "NRRD of pynrrd": ("scan.nrrd", _by_pynrrd),
    "DICOM": ("scan", write_dicom),
}


def _right_handed(affine: np.ndarray) -> np.ndarray:
    """Return an affine whose third axis leads along the normal of the first two, as slices are sorted."""
    turned = affine.copy()
    if np.linalg.det(turned[:3, :3]) < 0:
        turned[:3, 2] *= -1
    return turned


@pytest.fixture(params=WRITERS, ids=lambda name: name.replace(" ", "-"))
def writer(request: pytest.FixtureRequest) -> tuple[str, Callable[[Path, np.ndarray, np.ndarray], None]]:
    return WRITERS[request.param]


@pytest.mark.parametrize("seed", range(6))
def test_a_scan_is_read_where_its_writer_put_it_and_its_map_lies_over_it(tmp_path: Path, writer: Any, seed: int) -> None:
    name, write = writer
    draw = np.random.default_rng(seed)
    shape = SHAPES[seed]
    affine = random_affine(draw, turned=seed % 2 == 0)
    affine = _right_handed(affine) if name == "scan" else affine
    values = voxels(draw, shape)
    write(tmp_path / name, values, affine)

    scan = read_volume(tmp_path / name)
    assert scan.geometry is not None
    assert np.array_equal(scan.values, values)
    assert scan.values.dtype == np.float32
    assert apart(affine, scan.geometry.affine, shape) < NEAR
    if name != "scan" and not name.endswith(".img") and write is not _nifti2:  # ITK's series reader is another; it knows no NIfTI-2
        theirs, place = itk_read(tmp_path / name)
        assert np.array_equal(scan.values, theirs)
        assert apart(place, scan.geometry.affine, shape) < NEAR

    heat = draw.normal(size=shape).astype(np.float32)
    heat[0, 0, 0] = np.nan
    for kind in KINDS:
        path = tmp_path / f"map{kind}"
        write_volume(path, heat, scan)
        if kind.startswith(".nii"):
            image = nibabel.load(path)
            assert np.array_equal(np.asarray(image.dataobj), heat, equal_nan=True)
            assert image.get_data_dtype().newbyteorder("=") == np.float32
            assert apart(affine, image.affine, shape) < NEAR
        if ".nii" in kind and write is _nifti2:
            continue
        theirs, place = itk_read(path)
        assert np.array_equal(theirs, np.nan_to_num(heat) if ".nii" in kind else heat, equal_nan=True)  # its NIfTI has 0 for NaN
        assert apart(affine, place, shape) < NEAR
        if kind == ".nrrd":
            theirs, header = nrrd.read(str(path))
            assert np.array_equal(theirs, heat, equal_nan=True)
            space = {"left-posterior-superior": TURN, "right-anterior-superior": np.eye(4)}[header["space"]]
            columns = np.eye(4)
            columns[:3] = np.column_stack([header["space directions"].T, header["space origin"]])
            assert apart(affine, space @ columns, shape) < NEAR


@pytest.mark.parametrize("seed", range(3))
def test_a_map_of_the_scans_format_has_its_place_bit_for_bit(tmp_path: Path, writer: Any, seed: int) -> None:
    name, write = writer
    draw = np.random.default_rng(10 + seed)
    write(tmp_path / name, voxels(draw, (4, 3, 5)), _right_handed(random_affine(draw)))
    scan = read_volume(tmp_path / name)
    path = tmp_path / f"map{kind_for(scan)}"
    write_volume(path, np.ones(scan.shape), scan)
    if kind_of(path) in (".nii", ".nii.gz") and name != "scan":
        ours, theirs = nibabel.load(path).header, nibabel.load(tmp_path / name).header
        assert ours.endianness == theirs.endianness
        assert type(ours).__name__.replace("Pair", "") == type(theirs).__name__.replace("Pair", "")
        for field in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y", "srow_z"):
            assert ours[field].tobytes() == theirs[field].tobytes(), field
        assert ours["pixdim"][:4].tobytes() == theirs["pixdim"][:4].tobytes()
        assert ours.get_xyzt_units()[0] == theirs.get_xyzt_units()[0]
    elif kind_of(path) in (".mha", ".nrrd"):
        ours, theirs = (
            [
                line
                for line in file.read_bytes().split(b"\n")
                if line.startswith((b"TransformMatrix", b"Offset", b"ElementSpacing", b"space"))
            ]
            for file in (path, tmp_path / name)
        )
        assert ours == theirs
        assert len(ours) == 3
    else:
        assert kind_of(path) == ".nii.gz"


def test_a_header_of_another_place_is_not_kept(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, write in (pair for pair in WRITERS.values() if pair[0] != "scan" and pair[1] is not _nifti2):
        write(tmp_path / name, voxels(draw, (4, 3, 5)), random_affine(draw))
        scan = read_volume(tmp_path / name)
        affine = random_affine(draw)
        moved = Volume(scan.values, Geometry(affine), scan.name, scan.kind, scan.header)
        path = tmp_path / f"moved{kind_for(moved)}"
        write_volume(path, scan.values, moved)
        assert apart(affine, itk_read(path)[1], scan.shape) < NEAR
        smaller = Volume(scan.values[:2], Geometry(affine), scan.name, scan.kind, scan.header)
        write_volume(path, scan.values[:2], smaller)
        assert apart(affine, itk_read(path)[1], smaller.shape) < NEAR


def test_axes_that_are_not_at_right_angles_stay_so(tmp_path: Path) -> None:
    """A gantry that leans: the step from slice to slice does not follow the normal."""
    affine = _right_handed(random_affine(np.random.default_rng(4)))
    affine[:3, 2] += 0.4 * affine[:3, 1]
    values = voxels(np.random.default_rng(5), (6, 5, 4))
    write_dicom(tmp_path / "scan", values, affine)
    scan = read_volume(tmp_path / "scan")
    assert np.array_equal(scan.values, values)
    assert scan.geometry is not None
    assert apart(affine, scan.geometry.affine, scan.shape) < NEAR
    for kind in KINDS:
        write_volume(tmp_path / f"map{kind}", values, scan)
        again = read_volume(tmp_path / f"map{kind}")
        assert again.geometry is not None
        assert apart(affine, again.geometry.affine, scan.shape) < NEAR
        if kind in (".mha", ".nrrd"):
            assert apart(affine, itk_read(tmp_path / f"map{kind}")[1], scan.shape) < NEAR
    image = nibabel.load(tmp_path / "map.nii")
    assert apart(affine, image.affine, scan.shape) < NEAR
    assert int(image.header["qform_code"]) == 0  # a rotation cannot say it


def test_a_scan_without_a_place_gives_maps_without_one(tmp_path: Path) -> None:
    scan = Volume(np.zeros((2, 3, 4)), None, "scan")
    for kind in KINDS:
        (tmp_path / f"map{kind}").write_bytes(encode_volume(np.ones((2, 3, 4)), scan, kind))
        assert np.array_equal(itk_read(tmp_path / f"map{kind}")[0], np.ones((2, 3, 4)))
        assert read_volume(tmp_path / f"map{kind}").shape == (2, 3, 4)
    assert read_volume(tmp_path / "map.mha").geometry is None
    assert read_volume(tmp_path / "map.nrrd").geometry is None
    assert int(nibabel.load(tmp_path / "map.nii").header["sform_code"]) == 0


def test_the_same_map_is_the_same_bytes() -> None:
    scan = Volume(np.zeros((2, 3, 4)), Geometry.of_spacing((1, 2, 3)), "scan")
    for kind in KINDS:
        content = encode_volume(np.ones((2, 3, 4)), scan, kind)
        assert content == encode_volume(np.ones((2, 3, 4)), scan, kind)
        packed = content[content.index(b"\x1f\x8b") :] if kind in (".nii.gz", ".nrrd") else b""
        assert packed[4:8].strip(b"\0") == b""  # gzip's time
