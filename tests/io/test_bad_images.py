import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camtool.errors import ImageError
from camtool.io.images import read_picture
from tests.datasets.synthetic.signals import scene


def test_a_missing_picture_names_the_nearest_one(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "kitten.jpg")
    (tmp_path / "kitte.txt").write_text("not a picture")
    with pytest.raises(ImageError, match=r"No picture '.*kiten\.jpg'; closest: '.*kitten\.jpg'\.$"):
        read_picture(tmp_path / "kiten.jpg")


@pytest.mark.parametrize(
    "name", ["nowhere/cat.jpg", "cat.jpg/cat.jpg", f"{'x' * 300}.jpg"], ids=["folder", "below a file", "name too long"]
)
def test_a_path_that_cannot_be_is_missing_too(tmp_path: Path, name: str) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"1")
    with pytest.raises(ImageError, match="No picture"):
        read_picture(tmp_path / name)


def test_a_directory_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a directory; expected an image file"):
        read_picture(tmp_path)


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg' is empty \(0 bytes\)"):
        read_picture(tmp_path / "empty.jpg")


@pytest.mark.parametrize("content", [b"I am a cat, believe me.\n" * 50, b"\xff\xd8", bytes(range(256)), b"%PDF-1.7\n"])
def test_a_file_that_is_no_picture_is_refused_whatever_its_suffix(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cat.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=r"cat\.jpg' is not an image; expected JPG, JPEG, PNG, BMP, TIF, TIFF, WEBP"):
        read_picture(tmp_path / "cat.jpg")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
def test_a_truncated_picture_is_refused_not_half_grey(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match=rf"cut\.{suffix}' (cannot be read; the file is truncated or damaged|is not an image)"):
        read_picture(path)


def test_a_damaged_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.png"
    Image.fromarray(scene()).save(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") + 6
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_picture(path)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_a_picture_one_pixel_thin_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "dot.png")
    with pytest.raises(ImageError, match=rf"is {size[0]}x{size[1]}; expected at least 2 pixels on each side"):
        read_picture(tmp_path / "dot.png")


def test_the_least_and_the_most_extreme_sizes_are_read(tmp_path: Path) -> None:
    for width, height in [(2, 2), (200, 2), (2, 200)]:
        Image.new("RGB", (width, height), (1, 2, 3)).save(tmp_path / "thin.png")
        assert read_picture(tmp_path / "thin.png").shape == (height, width, 3)


@pytest.mark.parametrize("size", [(3030, 30), (5, 600)])
def test_an_extreme_aspect_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "strip.png")
    with pytest.raises(ImageError, match=rf"is {size[0]}x{size[1]}; expected an aspect ratio of at most 100 to 1"):
        read_picture(tmp_path / "strip.png")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(ImageError, match="is 60000x60000, 3600 megapixels; expected at most 250"):
        read_picture(tmp_path / "bomb.png")
