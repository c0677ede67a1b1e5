"""TIFF files of any number of bands, against what was written into them, and against Pillow where it knows them."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from camtool.errors import ImageError
from camtool.io.tiff import pages
from tests.io.tiff_files import write_tiff


def decoded(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    return pages(file)[0].decode(file)


def drawn(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) * 250).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize(("separate", "order", "tile"), [(False, "<", 0), (True, ">", 0), (False, ">", 16), (True, "<", 16)])
def test_bands_are_read_as_they_were_written(tmp_path: Path, dtype: Any, separate: bool, order: str, tile: int) -> None:
    for bands in (1, 2, 5, 13):
        values = drawn((23, 37, bands), dtype, seed=bands)
        write_tiff(tmp_path / "x.tif", values, separate=separate, order=order, tile=tile)
        np.testing.assert_array_equal(decoded((tmp_path / "x.tif").read_bytes()), values)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
@pytest.mark.parametrize(
    ("mode", "dtype", "bands", "predictor"),
    [("L", np.uint8, 1, 2), ("RGB", np.uint8, 3, 1), ("RGBA", np.uint8, 4, 2), ("I;16", np.uint16, 1, 2), ("F", np.float32, 1, 3)],
)
def test_compressed_files_are_unpacked(compression: str, mode: str, dtype: Any, bands: int, predictor: int) -> None:
    values = drawn((31, 37, bands), dtype)
    image = Image.fromarray(values[..., 0] if bands == 1 else values)
    assert image.mode == mode
    tags = {278: 7} if compression == "packbits" else {278: 7, 317: predictor}  # strips of 7 rows
    image.save(file := io.BytesIO(), "TIFF", compression=compression, tiffinfo=tags)
    np.testing.assert_array_equal(decoded(file.getvalue()), values)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_colour_of_more_than_8_bits_is_read_in_full(dtype: Any) -> None:
    values = 200 * drawn((20, 30, 3), dtype)
    np.testing.assert_array_equal(decoded(cv2.imencode(".tif", values)[1].tobytes())[..., ::-1], values)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_are_turned_upright_as_pillow_does(orientation: int) -> None:
    values = drawn((5, 7), np.uint8)
    Image.fromarray(values).save(file := io.BytesIO(), "TIFF", tiffinfo={274: orientation})
    image = Image.fromarray(values)
    image.getexif()[274] = orientation
    np.testing.assert_array_equal(decoded(file.getvalue())[..., 0], np.asarray(ImageOps.exif_transpose(image)))


def test_smaller_copies_are_no_pages_of_their_own() -> None:
    large, small, other = (Image.fromarray(drawn(shape, np.uint8)) for shape in ((8, 8), (4, 4), (8, 8)))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    large.save(file := io.BytesIO(), "TIFF", save_all=True, append_images=[small, other])
    assert [page.size for page in pages(file)] == [(8, 8), (8, 8)]


def test_a_compression_that_is_not_read_is_named() -> None:
    Image.fromarray(drawn((16, 16, 3), np.uint8)).save(file := io.BytesIO(), "TIFF", compression="jpeg")
    with pytest.raises(ImageError, match="compression 7; expected none, LZW"):
        decoded(file.getvalue())


def test_bits_that_are_no_bytes_are_named() -> None:
    Image.fromarray(drawn((16, 16), np.uint8) > 100).save(file := io.BytesIO(), "TIFF")
    with pytest.raises(ImageError, match="bands of 1 bits; expected one type of 8, 16, 32 or 64"):
        decoded(file.getvalue())


def test_tiles_beyond_all_measure_are_known_before_decoding(tmp_path: Path) -> None:
    write_tiff(tmp_path / "x.tif", drawn((23, 37, 2), np.uint8), tile=16)
    content = (tmp_path / "x.tif").read_bytes()
    (page,) = pages(io.BytesIO(content))
    page.tags.update({322: 1_000_000, 323: 1_000_000})
    assert page.most_bytes > 1e12
    page.tags.update({322: 1, 323: 1})
    with pytest.raises(ImageError, match="6 strips or tiles; expected 851"):
        page.decode(io.BytesIO(content))


@pytest.mark.filterwarnings("ignore")  # Pillow's, which callers silence
def test_a_file_that_ends_in_its_list_of_pages_has_not_fewer_pages() -> None:
    first, *others = [Image.fromarray(drawn((8, 9), np.uint8, seed)) for seed in range(3)]
    first.save(file := io.BytesIO(), "TIFF", save_all=True, append_images=others)
    assert len(pages(file)) == 3
    content = file.getvalue()
    for length in range(8, len(content) // 2):
        with pytest.raises((OSError, SyntaxError)):
            pages(io.BytesIO(content[:length]))


def test_a_compressed_strip_that_is_cut_off_is_not_read() -> None:
    Image.fromarray(np.zeros((31, 37), np.uint8)).save(file := io.BytesIO(), "TIFF", compression="tiff_adobe_deflate")
    (page,) = pages(file)
    page.tags[279] = (page.tags[279][0] + len(file.getvalue()),)
    with pytest.raises(OSError, match="not whole"):
        page.decode(file)
