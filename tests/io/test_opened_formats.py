"""Only the promised formats are opened, and nothing is decoded that takes too much memory."""

import io
import struct
import subprocess
import threading
import warnings
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin, WebPImagePlugin

from camtool.apis.images import PictureFile, load_image
from camtool.errors import ImageError
from camtool.io import pillow
from camtool.io.images import SUFFIXES, as_picture, decode_picture, read_picture
from camtool.io.pillow import MOST_BYTES, READ, Reading
from tests.datasets.synthetic.signals import scene

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\nshowpage\n%%EOF\n"


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where any other program is started."""

    def start(*arguments: object, **keywords: object) -> NoReturn:
        raise AssertionError(f"{arguments} was started")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr("os.system", start)


def not_promised() -> dict[str, bytes]:
    """Return by format the content of a file in each other format that Pillow writes, and an EPS that loops."""
    contents = {"EPS": EPS}
    for name in ("ICO", "ICNS", "PCX", "PPM", "SGI", "TGA", "DDS", "JPEG2000", "MSP", "XBM", "SPIDER"):
        buffer = io.BytesIO()
        mode = {"MSP": "1", "XBM": "1", "SPIDER": "F"}.get(name, "RGB")
        Image.new(mode, (64, 64)).save(buffer, name)
        contents[name] = buffer.getvalue()
    # An IPTC file contains another picture, which Pillow opens by all of its formats.
    field = b"\x1c\x03\x3c\x00\x02\x01\x00" + b"\x1c\x03\x14\x00\x01\x40" + b"\x1c\x03\x1e\x00\x01\x40" + b"\x1c\x03\x78\x00\x01\x01"
    contents["IPTC"] = field + b"\x1c\x08\x0a" + struct.pack(">H", len(EPS)) + EPS
    return contents


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("suffix", ["jpg", "eps", "tif"])
@pytest.mark.parametrize("name", not_promised())
def test_another_format_is_no_image_whatever_its_suffix(tmp_path: Path, name: str, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(not_promised()[name])
    with pytest.raises(ImageError, match=r"is not an image; expected JPG, JPEG, PNG, BMP, TIF, TIFF, WEBP"):
        read_picture(tmp_path / f"a.{suffix}")
    with pytest.raises(ImageError, match="'standard input' is not an image"):
        decode_picture(not_promised()[name], "standard input")


@pytest.mark.usefixtures("no_program")
def test_an_opened_file_of_another_format_is_not_decoded_either() -> None:
    with pytest.raises(ImageError, match=r"an opened file of the format EPS, which may start other programs; call its load\(\) first"):
        load_image(Image.open(io.BytesIO(EPS)))
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "PPM")
    image = Image.open(buffer)
    image.load()
    np.testing.assert_array_equal(as_picture(image), scene())


def content(name: str, size: tuple[int, int] = (96, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, name)
    return buffer.getvalue()


@pytest.mark.parametrize("name", READ)
def test_more_pixels_than_allowed_are_refused_before_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for loader in (ImageFile.ImageFile, WebPImagePlugin.WebPImageFile, TiffImagePlugin.TiffImageFile):
        monkeypatch.setattr(loader, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"is 96x64, 0\.006144 megapixels; expected at most 0\.006143\..*--max-pixels 6144"):
        decode_picture(content(name), "a", Reading(max_pixels=96 * 64 - 1))


def test_few_pixels_are_no_fraction_of_a_million() -> None:
    with pytest.raises(ImageError, match=r"is 96x64, 6144 pixels; expected at most 10\."):
        decode_picture(content("PNG"), "a", Reading(max_pixels=10))


def test_the_suffixes_of_pictures_are_those_of_the_formats_that_are_read() -> None:
    Image.init()
    assert {Image.registered_extensions()[suffix] for suffix in SUFFIXES} == set(READ)


@pytest.mark.parametrize("name", READ)
def test_exactly_the_allowed_pixels_are_read(name: str) -> None:
    assert decode_picture(content(name), "a", Reading(max_pixels=96 * 64)).shape == (64, 96, 3)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_250_megapixels_are_the_most_unless_more_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(16_000, 15_626))
    with pytest.raises(ImageError, match=r"is 16000x15626, 250 megapixels; expected at most 250\..*--max-pixels 250016000"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(ImageError, match="truncated or damaged"):  # it holds no pixels: allowed, it is decoded
        load_image(PictureFile(tmp_path / "a.png", Reading(max_pixels=250_016_000)))


@pytest.mark.parametrize("side", [24_000, 60_000])
def test_no_more_than_two_gigabytes_are_decoded_however_many_pixels_are_allowed(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    with pytest.raises(ImageError, match=rf"is {side}x{side} and takes up to [\d.]+ GB to decode; expected at most 2 GB"):
        read_picture(tmp_path / "a.png", Reading(max_pixels=10**12))


def test_a_tile_beyond_the_image_counts(tmp_path: Path) -> None:
    # A TIFF of 64 x 64 whose one tile is unpacked to 4.8 GB.
    tags = [(256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1), (322, 64_000), (323, 64_000), (324, 8), (325, 4)]
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IIH", 12, 0, len(tags)) + packed + bytes(4))
    with pytest.raises(ImageError, match=r"is 64x64 and takes up to 16\.\d+ GB to decode"):
        read_picture(tmp_path / "a.tif")


def test_standard_input_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "MOST_BYTES", 100)
    with pytest.raises(ImageError, match="'standard input' takes up to"):
        decode_picture(bytes(101), "standard input")
    assert MOST_BYTES == 2_000_000_000


@pytest.mark.parametrize("value", [0, -1, 3, True])
def test_a_number_of_pixels_that_is_none_is_refused(value: int) -> None:
    with pytest.raises(ImageError, match="Expected max_pixels as a number of pixels"):
        Reading(max_pixels=value)


def test_pillows_own_limit_is_left_as_it_was_by_threads(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS

    def read() -> None:
        for _ in range(50):
            read_picture(tmp_path / "a.png")

    with warnings.catch_warnings():
        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert before == Image.MAX_IMAGE_PIXELS
    assert before is not None
