"""Pictures above the limit are reduced on reading; here mostly with a small limit instead of large pictures."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from camtool.errors import CamtoolWarning
from camtool.io import images, pillow
from camtool.io.bands import read_bands
from camtool.io.images import read_picture
from tests.datasets.synthetic.signals import STORED, scene

ROOT = Path(__file__).resolve().parents[2]
SIDE = 15_000  # 225 megapixels


def in_mode(mode: str) -> tuple[Image.Image, np.ndarray]:
    """Return the scene in a mode of Pillow, and the same in RGB."""
    rgb = Image.fromarray(scene())
    grey = np.repeat(np.asarray(rgb.convert("L"))[..., None], 3, axis=2)
    if mode == "I;16":
        return Image.fromarray(grey[..., 0].astype(np.uint16) * 257), grey
    if mode == "F":
        lower = np.arange(64)[:, None] >= 32  # no band of rows has the whole range
        levels = np.where(lower, 9, -9).repeat(96, axis=1).astype(np.float32)
        return Image.fromarray(levels), (levels[..., None] > 0).repeat(3, axis=2) * np.uint8(255)
    if mode == "P":
        return rgb.quantize(4), scene()
    if mode == "RGBA":
        alpha = np.full((64, 96, 1), 255, dtype=np.uint8)
        alpha[:32, 48:] = 0
        white = scene()
        white[:32, 48:] = 255
        return Image.fromarray(np.dstack([scene(), alpha])), white
    return rgb.convert(mode), grey if mode == "L" else scene()


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGB", "png"), ("L", "png"), ("P", "png"), ("RGBA", "png"), ("I;16", "png"), ("I;16", "tif"), ("F", "tif"), ("CMYK", "tif")],
)
def test_every_mode_is_reduced_and_keeps_its_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, suffix: str) -> None:
    monkeypatch.setattr(pillow, "KEPT_PIXELS", 600)
    monkeypatch.setattr(images, "BAND", 3)  # several bands, the last one not full
    image, expected = in_mode(mode)
    image.save(tmp_path / f"large.{suffix}")
    with pytest.warns(CamtoolWarning, match="is 96x64; it is read at 24x16"):
        picture = read_picture(tmp_path / f"large.{suffix}")
    assert picture.shape == (16, 24, 3)
    assert np.abs(picture.astype(int) - expected[2::4, 2::4].astype(int)).max() <= 1


def test_a_large_jpeg_is_reduced_and_keeps_its_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "KEPT_PIXELS", 600)
    Image.fromarray(scene()).save(tmp_path / "large.jpg", quality=95, subsampling=0)
    with pytest.warns(CamtoolWarning, match="96x64"):
        picture = read_picture(tmp_path / "large.jpg")
    assert picture.shape == (16, 24, 3)
    assert np.abs(picture.astype(int) - scene()[2::4, 2::4].astype(int)).max() <= 4


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_reduced_picture_is_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(pillow, "KEPT_PIXELS", 600)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](scene())))
    stored.save(tmp_path / f"turned.{suffix}", exif=exif, **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {}))
    with pytest.warns(CamtoolWarning, match="to bound the memory"):
        picture = read_picture(tmp_path / f"turned.{suffix}")
    assert picture.shape == (16, 24, 3)
    assert np.abs(picture.astype(int) - scene()[2::4, 2::4].astype(int)).max() <= 4


def test_pillows_own_limit_is_left_as_it_was(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    Image.fromarray(scene()).save(tmp_path / "scene.png")
    read_picture(tmp_path / "scene.png")
    assert before is not None
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif", "deflate.tif", "tiled.tif"])
def test_a_picture_above_pillows_own_limit_is_read_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # Pillow refuses twice as many; the scene has 6144
    path = tmp_path / f"scene.{suffix}"
    options = {"deflate.tif": {"compression": "tiff_adobe_deflate"}, "tiled.tif": {"tiffinfo": {322: 96, 323: 64}}}.get(suffix, {})
    Image.fromarray(scene()).save(path, **options)
    assert read_picture(path).shape == (64, 96, 3)
    assert read_bands([path], "scene", pillow.Reading(channels=(0,))).shape == (64, 96, 1)
    assert Image.MAX_IMAGE_PIXELS == 2000


def png(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """Return a PNG of one colour. Its rows are compressed once: a whole encoder would take seconds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    rows, count = (b"\0" + bytes(colour) * width) * (height // 100), 100
    deflate = zlib.compressobj(level=1, wbits=-15)
    block = deflate.compress(rows) + deflate.flush(zlib.Z_FULL_FLUSH)
    adler = 1
    for _ in range(count):
        adler = zlib.adler32(rows, adler)
    packed = b"\x78\x01" + block * count + b"\x03\x00" + adler.to_bytes(4, "big")
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


MEASURE = """
import re, sys, warnings
from pathlib import Path
from camtool.io.images import read_picture
warnings.simplefilter("ignore")
picture = read_picture(Path(sys.argv[1]))
print(*picture.shape[:2], *picture[0, 0], *picture[-1, -1], re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize(("suffix", "side", "most_megabytes"), [("jpg", 3750, 600), ("png", 5000, 1400)])
def test_225_megapixels_are_read_in_bounded_memory(tmp_path: Path, suffix: str, side: int, most_megabytes: int) -> None:
    # JPEG is decoded at a fraction of its size. PNG cannot be: Pillow holds it whole, four bytes a pixel, 900 MB here; no second copy.
    path = tmp_path / f"huge.{suffix}"
    if suffix == "png":
        path.write_bytes(png(SIDE, SIDE, (200, 100, 50)))
    else:
        Image.new("RGB", (SIDE, SIDE), (200, 100, 50)).save(path)
    finished = subprocess.run([sys.executable, "-c", MEASURE, path], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    height, width, *colours, kilobytes = map(int, finished.stdout.split())
    assert (height, width) == (side, side)
    assert colours == [200, 100, 50] * 2
    assert kilobytes / 1024 < most_megabytes
