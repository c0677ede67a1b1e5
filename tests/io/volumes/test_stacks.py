"""TIFF pages are slices, arrays are as they lie; neither says where it lies."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camtool.errors import ImageError
from camtool.io.volumes import VolumeReading, read_volume
from tests.io.volumes.volume_files import voxels

SHAPE = (7, 4, 5)
SPACING = VolumeReading(spacing=(0.5, 1.0, 2.0))


def stack(path: Path, values: np.ndarray, **options: Any) -> Path:
    """Write values (x, y, z) as pages of a TIFF file by Pillow."""
    first, *others = [Image.fromarray(np.ascontiguousarray(values[..., z].T)) for z in range(values.shape[2])]
    first.save(path, save_all=True, append_images=others, **options)
    return path


def refused(path: Path, **reading: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_volume(path, VolumeReading(**reading))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32])
def test_pages_are_slices(tmp_path: Path, dtype: Any, compression: str) -> None:
    values = voxels(np.random.default_rng(0), SHAPE, dtype)
    volume = read_volume(stack(tmp_path / "scan.tif", values, compression=compression), SPACING)
    assert np.array_equal(volume.values, values)
    assert volume.geometry is not None
    assert volume.geometry.spacing == (0.5, 1.0, 2.0)
    assert not volume.geometry.oriented


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">f4", np.float64, bool])
def test_arrays_are_as_they_lie(tmp_path: Path, order: Any, dtype: Any) -> None:
    values = voxels(np.random.default_rng(1), SHAPE, dtype)
    np.save(tmp_path / "scan.npy", np.asarray(values, order=order))
    volume = read_volume(tmp_path / "scan.npy", SPACING)
    assert np.array_equal(volume.values, values)
    assert volume.values.dtype == np.float32
    assert volume.geometry is not None
    assert volume.geometry.spacing == (0.5, 1.0, 2.0)


def test_without_a_spacing_nothing_is_known_of_the_place(tmp_path: Path) -> None:
    values = voxels(np.random.default_rng(2), SHAPE, np.uint8)
    np.save(tmp_path / "scan.npy", values)
    assert read_volume(tmp_path / "scan.npy").geometry is None
    assert read_volume(stack(tmp_path / "scan.tif", values)).geometry is None


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_axis_that_numbers_volumes_is_asked_for_and_not_guessed(tmp_path: Path, order: Any) -> None:
    values = voxels(np.random.default_rng(3), (2, *SHAPE))
    np.save(tmp_path / "scan.npy", np.asarray(values, order=order))
    assert "Say which axis numbers its volumes" in refused(tmp_path / "scan.npy")
    assert "Say which axis" in refused(tmp_path / "scan.npy", volume=1)
    assert "2 along axis 0: volume=0" in refused(tmp_path / "scan.npy", volume_axis=0)
    assert np.array_equal(read_volume(tmp_path / "scan.npy", VolumeReading(volume=1, volume_axis=0)).values, values[1])
    assert np.array_equal(read_volume(tmp_path / "scan.npy", VolumeReading(volume=4, volume_axis=3)).values, values[..., 4])
    assert "volume_axis (--volume-axis) from 0 to 3, got [4]" in refused(tmp_path / "scan.npy", volume_axis=4)
    np.save(tmp_path / "ones.npy", values[1][..., None, None])
    assert np.array_equal(read_volume(tmp_path / "ones.npy").values, values[1])
    np.save(tmp_path / "five.npy", np.stack([values, values + 1], axis=2))
    assert np.array_equal(read_volume(tmp_path / "five.npy", VolumeReading(volume=(1, 0), volume_axis=(0, 2))).values, values[1])
    np.save(tmp_path / "flat.npy", values[0, 0])
    assert "2 axes in space" in refused(tmp_path / "flat.npy")
    assert "2 axes in space" in refused(tmp_path / "flat.npy") == refused(tmp_path / "flat.npy")


def test_objects_are_not_loaded(tmp_path: Path) -> None:
    class Opened:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "opened",))

    np.save(tmp_path / "scan.npy", np.array([[[Opened()]]], dtype=object), allow_pickle=True)
    assert "programs and are not run" in refused(tmp_path / "scan.npy")
    assert not (tmp_path / "opened").exists()
    (tmp_path / "zip.npy").write_bytes(b"PK\3\4 no array")
    assert "damaged" in refused(tmp_path / "zip.npy")


def test_arrays_that_disagree_with_their_header_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, voxels(np.random.default_rng(4), SHAPE))
    whole = buffer.getvalue()
    for content, said in ((whole[:-3], "truncated"), (whole + b"1", "more than"), (whole[:40], "damaged")):
        (tmp_path / "scan.npy").write_bytes(content)
        assert said in refused(tmp_path / "scan.npy")
    (tmp_path / "scan.npy").write_bytes(whole.replace(b"(7, 4, 5)", b"(7, 4,-5)"))
    assert "at least one voxel" in refused(tmp_path / "scan.npy")
    for content in (whole.replace(b"}", b" "), whole.replace(b"{", b"("), whole.replace(b"'shape'", b"'shap'")):
        (tmp_path / "scan.npy").write_bytes(content)
        assert "damaged" in refused(tmp_path / "scan.npy")
    with (tmp_path / "scan.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": (70000, 4000, 5000)})
    assert "max_bytes=" in refused(tmp_path / "scan.npy")
    np.save(tmp_path / "scan.npy", np.zeros(SHAPE, np.complex64))
    assert "complex voxels" in refused(tmp_path / "scan.npy")
    np.save(tmp_path / "scan.npy", np.zeros(SHAPE, "U3"))
    assert "expected one number a voxel" in refused(tmp_path / "scan.npy")


def test_slices_of_several_sizes_types_or_in_colour_are_refused(tmp_path: Path) -> None:
    pages = [Image.new("L", (7, 4)), Image.new("L", (7, 5))]
    pages[0].save(tmp_path / "sizes.tif", save_all=True, append_images=pages[1:])
    assert "page 1, 7x5" in refused(tmp_path / "sizes.tif")
    pages = [Image.new("L", (7, 4)), Image.new("F", (7, 4))]
    pages[0].save(tmp_path / "types.tif", save_all=True, append_images=pages[1:])
    assert "uint8 and, page 1" in refused(tmp_path / "types.tif")
    Image.new("RGB", (7, 4)).save(tmp_path / "colour.tif")
    assert "3 bands" in refused(tmp_path / "colour.tif")


def test_truncated_and_too_many_pages_are_refused(tmp_path: Path) -> None:
    path = stack(tmp_path / "scan.tif", voxels(np.random.default_rng(5), SHAPE, np.uint8))
    assert f"max_bytes={7 * 4 * 5 * 5}" in refused(path, max_bytes=699)
    whole = path.read_bytes()
    for length in (8, 20, 200, len(whole) // 2):
        path.write_bytes(whole[:length])
        refused(path)


def test_a_page_that_is_turned_is_not_stacked_on_others(tmp_path: Path) -> None:
    pages: list[Any] = [Image.new("L", (7, 4)) for _ in range(2)]
    pages[1].encoderinfo = {"tiffinfo": {274: 6}}
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=[pages[1]])
    assert "turned in several ways" in refused(tmp_path / "scan.tif")
    values = voxels(np.random.default_rng(8), SHAPE, np.uint8)
    turned = read_volume(stack(tmp_path / "scan.tif", values, tiffinfo={274: 5})).values  # rows are columns, in all pages
    assert np.array_equal(turned, values.transpose(1, 0, 2))


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("ImageJ=1.53\nimages=300\nslices=300\n", "says that it has 300"),
        ("ImageJ=1.53\nimages=5\nchannels=5\nmode=composite\n", "several channels"),
        ("ImageJ=1.53\nimages=5\nframes=5\n", "several channels or points of time"),
        ('<?xml version="1.0"?><OME><Image><Pixels SizeX="7" SizeY="4" SizeZ="1" SizeC="5" SizeT="1"/></Image></OME>', "several channels"),
    ],
)
def test_pages_that_are_no_slices_are_refused(tmp_path: Path, description: str, said: str) -> None:
    values = voxels(np.random.default_rng(6), SHAPE, np.uint8)
    assert said in refused(stack(tmp_path / "scan.tif", values, tiffinfo={270: description}))


@pytest.mark.parametrize("description", ["ImageJ=1.53\nimages=5\nslices=5\n", "channels=7", '<OME SizeC="1" SizeT="1" SizeZ="5"/>'])
def test_descriptions_of_slices_are_no_hindrance(tmp_path: Path, description: str) -> None:
    values = voxels(np.random.default_rng(7), SHAPE, np.uint8)
    assert read_volume(stack(tmp_path / "scan.tif", values, tiffinfo={270: description})).shape == SHAPE
