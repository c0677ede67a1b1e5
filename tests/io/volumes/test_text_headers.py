"""MetaImage and NRRD files, against SimpleITK and pynrrd, and those that are refused."""

import bz2
import gzip
import os
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK

from camtool.errors import ImageError
from camtool.io.volumes import VolumeReading, read_volume, write_volume
from tests.io.volumes.volume_files import RAW, apart, itk_image, itk_read, meta, nrrd_file, random_affine, voxels

SHAPE = (4, 3, 5)
VALUES = np.frombuffer(RAW, "<i2").reshape(SHAPE, order="F")
AFFINE = random_affine(np.random.default_rng(1))


def refused(path: Path, **reading: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_volume(path, VolumeReading(**reading))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["scan.mha", "scan.mhd", "scan.nrrd", "scan.nhdr"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_is_read_as_itk_wrote_it(tmp_path: Path, name: str, packed: bool, dtype: str) -> None:
    values = voxels(np.random.default_rng(2), SHAPE, dtype)
    SimpleITK.WriteImage(itk_image(values, AFFINE), str(tmp_path / name), packed)
    assert np.array_equal(read_volume(tmp_path / name).values, values.astype(np.float32))


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nhdr"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_encodings_of_pynrrd_are_read(tmp_path: Path, encoding: str, name: str, endian: str) -> None:
    fields = {
        "encoding": encoding,
        "endian": endian,
        "space": "left-anterior-superior",
        "space directions": np.diag([1.0, 2.0, 3.0]),
        "note": "x",
    }
    nrrd.write(str(tmp_path / name), VALUES, {**fields, "space origin": [1.0, 2.0, 3.0]}, custom_field_map={"note": "string"})
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.values, VALUES)
    assert volume.geometry is not None
    if encoding != "bzip2":  # ITK's reader is built without it
        assert apart(itk_read(tmp_path / name)[1], volume.geometry.affine, SHAPE) < 1e-3


@pytest.mark.parametrize(
    "space", ["RAS", "LAS", "LPS", "right-anterior-superior", "Left-Posterior-Superior", "scanner-xyz", "3D-left-handed"]
)
def test_spaces_are_those_of_itk(tmp_path: Path, space: str) -> None:
    path = nrrd_file(tmp_path / "scan.nrrd", space=space, space_directions="(0,2,0) (1,0,.5) (0,0,3)", space_origin="(10,20,30)")
    volume = read_volume(path)
    assert volume.geometry is not None
    assert apart(itk_read(path)[1], volume.geometry.affine, SHAPE) < 1e-3
    write_volume(tmp_path / "map.nrrd", volume.values, volume)
    assert apart(itk_read(path)[1], itk_read(tmp_path / "map.nrrd")[1], SHAPE) < 1e-6


def test_a_file_without_a_space_has_the_axes_that_itk_gives_it(tmp_path: Path) -> None:
    path = nrrd_file(tmp_path / "scan.nrrd", space=None, space_directions=None, spacings="1 2 3")
    volume = read_volume(path)
    assert volume.geometry is not None
    assert apart(itk_read(path)[1], volume.geometry.affine, SHAPE) < 1e-6
    write_volume(tmp_path / "map.nrrd", volume.values, volume)
    assert b"\nspacings: 1 2 3\n" in (tmp_path / "map.nrrd").read_bytes()
    path = nrrd_file(tmp_path / "nowhere.nrrd", space=None, space_directions=None)
    assert read_volume(path).geometry is None


def test_other_words_for_the_same_fields_are_understood(tmp_path: Path) -> None:
    fields = {"Offset": None, "ElementSpacing": None, "Position": "1 2 3", "Rotation": "0 1 0 -1 0 0 0 0 1", "ElementSize": "1 1 2"}
    volume = read_volume(meta(tmp_path / "scan.mha", **fields))
    same = read_volume(meta(tmp_path / "same.mha", TransformMatrix="0 1 0 -1 0 0 0 0 1"))
    assert volume.geometry is not None
    assert same.geometry is not None
    assert np.array_equal(volume.geometry.affine, same.geometry.affine)
    assert apart(itk_read(tmp_path / "same.mha")[1], same.geometry.affine, SHAPE) < 1e-6
    read_volume(meta(tmp_path / "short.mha", ObjectType=None, BinaryData=None))


def test_values_are_rescaled_as_a_metaimage_says(tmp_path: Path) -> None:
    path = meta(tmp_path / "scan.mha", ElementToIntensityFunctionSlope="2.5", ElementToIntensityFunctionOffset="-7")
    assert np.array_equal(read_volume(path).values, (VALUES * 2.5 - 7).astype(np.float32))


def test_several_volumes_of_a_file_are_asked_for(tmp_path: Path) -> None:
    many = np.stack([VALUES, VALUES + 1])
    path = meta(tmp_path / "channels.mha", many.tobytes(order="F"), ElementNumberOfChannels="2")
    assert "2 along axis 0" in refused(path)
    assert np.array_equal(read_volume(path, VolumeReading(volume=1)).values, VALUES + 1)

    fields = {"NDims": "4", "DimSize": "4 3 5 2", "ElementSpacing": "1 1 2 9", "Offset": "1 2 3 0"}
    path = meta(tmp_path / "times.mha", RAW + (VALUES + 1).tobytes(order="F"), **fields)
    assert "2 along axis 3" in refused(path)
    volume = read_volume(path, VolumeReading(volume=1))
    assert np.array_equal(volume.values, VALUES + 1)
    write_volume(tmp_path / "map.mha", volume.values, volume)
    assert volume.geometry is not None
    assert apart(itk_read(tmp_path / "map.mha")[1], volume.geometry.affine, SHAPE) < 1e-6
    turned = " ".join(map(str, np.roll(np.eye(4), 1, 0).ravel()))
    assert "turn space" in refused(meta(path, RAW * 2, **fields, TransformMatrix=turned))

    directions = "none (1,0,0) (0,1,0) (0,0,2)"
    path = nrrd_file(tmp_path / "list.nrrd", many.tobytes(order="F"), dimension="4", sizes="2 4 3 5", space_directions=directions)
    assert "2 along axis 0" in refused(path)
    volume = read_volume(path, VolumeReading(volume=1))
    assert np.array_equal(volume.values, VALUES + 1)
    write_volume(tmp_path / "map.nrrd", volume.values, volume)
    assert b"\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n" in (tmp_path / "map.nrrd").read_bytes()
    assert np.array_equal(itk_read(tmp_path / "map.nrrd")[0], VALUES + 1)
    plain = {"dimension": "4", "sizes": "2 4 3 5", "space": None, "space_directions": None}
    assert np.array_equal(
        read_volume(
            nrrd_file(tmp_path / "kinds.nrrd", many.tobytes(order="F"), **plain, kinds="list domain domain domain"), VolumeReading(volume=0)
        ).values,
        VALUES,
    )
    assert "does not say which are in space" in refused(nrrd_file(tmp_path / "unknown.nrrd", many.tobytes(order="F"), **plain))
    colours = "RGB-color domain domain domain"
    assert "expected one number a voxel" in refused(nrrd_file(tmp_path / "rgb.nrrd", many.tobytes(order="F"), **plain, kinds=colours))


def test_voxels_may_follow_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(b"12345\n678" + RAW)
    assert np.array_equal(read_volume(meta(tmp_path / "a.mhd", b"", ElementDataFile="x.raw", HeaderSize="9")).values, VALUES)
    assert np.array_equal(read_volume(meta(tmp_path / "b.mhd", b"", ElementDataFile="x.raw", HeaderSize="-1")).values, VALUES)
    fields = {"data_file": "x.raw", "line_skip": "1", "byte_skip": "3"}
    assert np.array_equal(read_volume(nrrd_file(tmp_path / "c.nhdr", b"", **fields)).values, VALUES)
    assert np.array_equal(read_volume(nrrd_file(tmp_path / "d.nhdr", b"", data_file="x.raw", byte_skip="-1")).values, VALUES)
    packed = gzip.compress(b"abc" + RAW)
    assert np.array_equal(read_volume(nrrd_file(tmp_path / "e.nrrd", packed, encoding="gzip", byte_skip="3")).values, VALUES)


@pytest.mark.parametrize(
    "where",
    [
        "../secret.raw",
        "/etc/passwd",
        "sub/x.raw",
        "..",
        ".",
        "LIST",
        "list 2",
        "x%03d.raw 1 3 1",
        "C:\\x.raw",
        "sub\\x.raw",
        "x*.raw",
        "link.raw",
    ],
)
def test_voxels_outside_of_the_folder_are_not_read(tmp_path: Path, where: str) -> None:
    for folder in (tmp_path, tmp_path / "scans", tmp_path / "scans" / "sub"):
        folder.mkdir(exist_ok=True)
        for name in ("x.raw", "secret.raw", "x001.raw", "LIST"):
            (folder / name).write_bytes(RAW)
    (tmp_path / "scans" / "link.raw").symlink_to(tmp_path / "secret.raw")
    for path in (
        meta(tmp_path / "scans" / "a.mhd", b"", ElementDataFile=where),
        nrrd_file(tmp_path / "scans" / "b.nhdr", b"", data_file=where),
    ):
        message = refused(path)
        assert "expected one file in the same folder" in message or "leads out of its folder" in message
    assert "which is missing" in refused(meta(tmp_path / "c.mhd", b"", ElementDataFile="nothing.raw"))
    os.mkfifo(tmp_path / "pipe.raw")
    assert "which is missing" in refused(meta(tmp_path / "d.mhd", b"", ElementDataFile="pipe.raw"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"DimSize": "4 3 6"}, "has 120 bytes of voxels; expected 144"),
        ({"DimSize": "4 3 4"}, "more than 96 bytes"),
        ({"DimSize": "4 0 5"}, "at least one voxel"),
        ({"DimSize": "4 3"}, "expected 3 finite numbers"),
        ({"DimSize": "4 3 x"}, "expected 3 finite numbers"),
        ({"DimSize": "4 3 1.5"}, "whole number"),
        ({"DimSize": "100000 100000 100000"}, "max_bytes="),
        ({"NDims": "2", "DimSize": "4 3"}, "2 axes"),
        ({"NDims": "99"}, "99 axes"),
        ({"NDims": None}, "expected 1 finite"),
        ({"ElementSpacing": "1 1 0"}, "sizes above 0"),
        ({"ElementSpacing": "1 1 nan"}, "finite"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "no usable geometry"),
        ({"TransformMatrix": "1 0 0"}, "9 finite"),
        ({"ElementType": "MET_OTHER"}, "type 'MET_OTHER'"),
        ({"ElementType": "MET_UCHAR_ARRAY"}, "type"),
        ({"BinaryData": "False"}, "as text"),
        ({"ObjectType": "Tube"}, "expected an Image"),
        ({"CompressedData": "True"}, "damaged"),
        ({"HeaderSize": "-3", "ElementDataFile": "x.raw"}, "HeaderSize = -3"),
        ({"ElementDataFile": None}, "no ElementDataFile"),
        ({"ElementToIntensityFunctionSlope": "nan"}, "finite"),
        ({"ElementToIntensityFunctionSlope": "1e300"}, "infinite by its slope"),
    ],
)
def test_metaimages_that_disagree_with_themselves_are_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    assert said in refused(meta(tmp_path / "scan.mha", **fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sizes": "4 3 6"}, "has 120 bytes of voxels; expected 144"),
        ({"sizes": "4 3 4"}, "more than 96 bytes"),
        ({"sizes": "4 3"}, "expected as many"),
        ({"sizes": "4 3 x"}, "whole numbers"),
        ({"sizes": "4 -3 5"}, "at least one voxel"),
        ({"sizes": "100000 100000 100000"}, "max_bytes="),
        ({"dimension": None}, "whole numbers"),
        ({"type": "block"}, "type 'block'"),
        ({"type": None}, "type ''"),
        ({"endian": None}, "endian"),
        ({"encoding": "txt"}, "encoding 'txt'"),
        ({"encoding": None}, "encoding ''"),
        ({"encoding": "gzip"}, "damaged"),
        ({"encoding": "bzip2"}, "damaged"),
        ({"space": "sideways"}, "space 'sideways'"),
        ({"space": "left-posterior-superior-time"}, "space"),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "2 space directions of 3 axes"),
        ({"space_directions": "(1,0,0) (0,1,0) none"}, "expected"),
        ({"space_directions": "(1,0,0) (0,1,0) (0,x,0)"}, "vectors of numbers"),
        ({"space_directions": "(1,0) (0,1) (1,1)"}, "three numbers"),
        ({"space_directions": "(1,0,0) (0,1,0) (1,1,0)"}, "no usable geometry"),
        ({"space_origin": "(1,2)"}, "three numbers"),
        ({"space_origin": "(1,2,nan)"}, "no usable geometry"),
        ({"byte_skip": "-2"}, "byte skip"),
        ({"byte_skip": "x"}, "whole numbers"),
        ({"no colon": None, "kinds": "complex domain domain"}, "one number a voxel"),
    ],
)
def test_nrrd_files_that_disagree_with_themselves_are_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    assert said in refused(nrrd_file(tmp_path / "scan.nrrd", **fields))


def test_fields_that_stand_twice_are_refused(tmp_path: Path) -> None:
    path = meta(tmp_path / "scan.mha")
    path.write_bytes(b"DimSize = 9 9 9\n" + path.read_bytes())
    assert "twice" in refused(path)
    path = nrrd_file(tmp_path / "scan.nrrd")
    path.write_bytes(path.read_bytes().replace(b"type:", b"sizes: 9 9 9\ntype:", 1))
    assert "twice" in refused(path)


@pytest.mark.parametrize("kind", ["zlib", "gzip", "bzip2"])
def test_a_bomb_is_not_unpacked_beyond_its_header(tmp_path: Path, kind: str) -> None:
    zeros = bytes(50_000_000)
    if kind == "zlib":
        path = meta(tmp_path / "scan.mha", zlib.compress(zeros), CompressedData="True")
    else:
        path = nrrd_file(tmp_path / "scan.nrrd", (gzip if kind == "gzip" else bz2).compress(zeros), encoding=kind)
    tracemalloc.start()
    try:
        assert "more than 120 bytes" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_header_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.mha").write_bytes(b"ObjectType = Image\n" + b"Comment = x\n" * 200_000)
    (tmp_path / "scan.nrrd").write_bytes(b"NRRD0004\n" + b"# x\n" * 600_000)
    (tmp_path / "line.nrrd").write_bytes(b"NRRD0004\n" + b"x" * 3_000_000)
    for name in ("scan.mha", "scan.nrrd", "line.nrrd"):
        assert "without an end" in refused(tmp_path / name)


def test_escape_codes_of_a_header_do_not_reach_a_terminal(tmp_path: Path) -> None:
    assert "\x1b" not in refused(meta(tmp_path / "scan.mha", ElementType="\x1b[31mred"))
    assert "\x1b" not in refused(nrrd_file(tmp_path / "scan.nrrd", encoding="\x1b]0;title\x07"))
