import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from camtool.errors import CamtoolWarning, ImageError
from camtool.io.images import read_picture
from camtool.io.pillow import Reading
from tests.datasets.synthetic.signals import STORED, scene

DEMO = Path(__file__).resolve().parents[2] / "demo"


def differs(picture: np.ndarray, expected: np.ndarray) -> int:
    """Return by how many levels the worst pixel is off."""
    assert picture.dtype == np.uint8
    assert picture.shape == expected.shape
    return int(np.abs(picture.astype(int) - expected.astype(int)).max())


@pytest.mark.parametrize(
    ("suffix", "settings", "most"),
    [
        ("jpg", {"quality": 95, "subsampling": 0}, 3),
        ("jpeg", {"quality": 95, "subsampling": 0, "progressive": True}, 3),
        ("png", {}, 0),
        ("bmp", {}, 0),
        ("tif", {}, 0),
        ("tiff", {"compression": "tiff_lzw"}, 0),
        ("webp", {"lossless": True}, 0),
    ],
)
def test_every_format_gives_the_pixels_in_rgb_and_upright(tmp_path: Path, suffix: str, settings: dict, most: int) -> None:
    path = tmp_path / f"scene.{suffix}"
    Image.fromarray(scene()).save(path, **settings)
    assert differs(read_picture(path), scene()) <= most


@pytest.mark.parametrize("name", ["cat", "espresso", "rocket", "cat_and_espresso"])
def test_a_jpeg_is_decoded_exactly_as_opencv_does(name: str) -> None:
    path = DEMO / f"{name}.jpg"
    by_opencv = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_picture(path), cv2.cvtColor(by_opencv, cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_every_exif_rotation_is_undone(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    settings = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(np.ascontiguousarray(STORED[orientation](scene()))).save(path, exif=exif, **settings)
    assert differs(read_picture(path), scene()) <= (3 if suffix == "jpg" else 0)


@pytest.mark.parametrize("name", ["Kätzchen 猫 é.png", "a cat  on a mat.png", "%41'\"&#[0].png"])
def test_any_file_name_can_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "Ordner mit ß" / name
    path.parent.mkdir()
    Image.fromarray(scene()).save(path)
    assert differs(read_picture(path), scene()) == 0


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
def test_a_grey_picture_has_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    grey = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    Image.fromarray(grey).save(tmp_path / f"grey.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert differs(read_picture(tmp_path / f"grey.{suffix}"), np.repeat(grey[..., None], 3, axis=2)) <= (2 if suffix == "jpg" else 0)


def test_a_one_bit_picture_is_black_and_white(tmp_path: Path) -> None:
    bits = np.zeros((20, 30), dtype=bool)
    bits[:5] = True
    Image.fromarray(bits).save(tmp_path / "bits.png")
    assert differs(read_picture(tmp_path / "bits.png"), np.repeat(bits[..., None] * np.uint8(255), 3, axis=2)) == 0


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_transparency_lies_on_white(tmp_path: Path, suffix: str) -> None:
    alpha = np.zeros((64, 96), dtype=np.uint8)
    alpha[:, 48:] = 255
    alpha[48:] = 128
    rgba = np.dstack([scene(), alpha])
    Image.fromarray(rgba).save(tmp_path / f"alpha.{suffix}", **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    share = alpha[..., None] / 255
    with pytest.warns(CamtoolWarning, match="opacity") if suffix == "tif" else contextlib.nullcontext():
        picture = read_picture(tmp_path / f"alpha.{suffix}")
    assert differs(picture, (scene() * share + 255 * (1 - share)).round()) <= 1


def test_grey_with_transparency_lies_on_white(tmp_path: Path) -> None:
    levels = np.full((8, 9, 2), (100, 255), dtype=np.uint8)
    levels[:4, :, 1] = 0
    Image.fromarray(levels).save(tmp_path / "la.png")
    expected = np.full((8, 9, 3), 100, dtype=np.uint8)
    expected[:4] = 255
    assert differs(read_picture(tmp_path / "la.png"), expected) == 0


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_transparent_palette_entry_is_white(tmp_path: Path, suffix: str) -> None:
    indices = np.zeros((10, 12), dtype=np.uint8)
    indices[:, 6:], indices[5:, 6:] = 1, 2
    image = Image.fromarray(indices).convert("L")
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 90, 255])
    image.save(tmp_path / f"palette.{suffix}", transparency=0)
    expected = np.array([(255, 255, 255), (200, 100, 50), (0, 90, 255)], dtype=np.uint8)[indices]
    assert differs(read_picture(tmp_path / f"palette.{suffix}"), expected) == 0


def test_an_rgb_colour_that_a_png_declares_transparent_is_white(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "keyed.png", transparency=(220, 30, 40))
    expected = scene()
    expected[:32, :48] = 255
    assert differs(read_picture(tmp_path / "keyed.png"), expected) == 0


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    levels = np.linspace(0, 65535, 64 * 80).round().astype(np.uint16).reshape(64, 80)
    Image.fromarray(levels).save(tmp_path / f"deep.{suffix}")
    expected = np.repeat((levels / 257).round()[..., None], 3, axis=2)
    assert differs(read_picture(tmp_path / f"deep.{suffix}"), expected) <= 1


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_colour_is_scaled_and_keeps_its_channels(tmp_path: Path, suffix: str) -> None:
    deep = scene().astype(np.uint16) * 257
    (tmp_path / f"deep.{suffix}").write_bytes(cv2.imencode(f".{suffix}", deep[..., ::-1])[1].tobytes())
    assert differs(read_picture(tmp_path / f"deep.{suffix}"), scene()) <= 1


@pytest.mark.parametrize(
    ("lowest", "highest"), [(0.0, 1.0), (-3.0, 5.0), (0.0, 4000.0)], ids=["unit range", "signed", "beyond one: stretched"]
)
def test_floating_point_tiff_spans_black_to_white(tmp_path: Path, lowest: float, highest: float) -> None:
    levels = np.linspace(lowest, highest, 256, dtype=np.float32)[None].repeat(4, axis=0)
    Image.fromarray(levels).save(tmp_path / "float.tif")
    assert differs(read_picture(tmp_path / "float.tif"), np.repeat(np.tile(np.arange(256), (4, 1))[..., None], 3, axis=2)) <= 1


def test_a_dim_floating_point_picture_stays_dim(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 0.2, dtype=np.float32)).save(tmp_path / "dim.tif")
    assert differs(read_picture(tmp_path / "dim.tif"), np.full((4, 5, 3), 51)) == 0


def test_nan_in_a_floating_point_picture_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.5, np.nan], [1.0, 0.0]], dtype=np.float32)).save(tmp_path / "nan.tif")
    assert read_picture(tmp_path / "nan.tif")[..., 0].tolist() == [[128, 0], [255, 0]]


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.fromarray(scene()).convert("CMYK").save(tmp_path / "print.jpg", quality=95, subsampling=0)
    assert differs(read_picture(tmp_path / "print.jpg"), scene()) <= 4


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_of_several_frames_or_pages_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    settings = {"webp": {"lossless": True}}.get(suffix, {})
    frames[0].save(tmp_path / f"many.{suffix}", save_all=True, append_images=frames[1:], **settings)
    with pytest.warns(CamtoolWarning, match=r"has 3 frames or pages; frame 0 is read. --frame N reads another, 0 to 2\."):
        picture = read_picture(tmp_path / f"many.{suffix}")
    assert differs(picture, np.full((10, 20, 3), (200, 0, 0))) == 0


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_a_frame_is_chosen_by_its_number(tmp_path: Path, suffix: str) -> None:
    colours = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
    sizes = [(20, 10), (10, 30), (20, 10)] if suffix == "tif" else [(20, 10)] * 3  # pages have sizes of their own
    frames = [Image.new("RGB", size, colour) for size, colour in zip(sizes, colours, strict=True)]
    settings = {"webp": {"lossless": True}}.get(suffix, {})
    frames[0].save(tmp_path / f"many.{suffix}", save_all=True, append_images=frames[1:], **settings)
    for number, (size, colour) in enumerate(zip(sizes, colours, strict=True)):
        picture = read_picture(tmp_path / f"many.{suffix}", Reading(frame=number))  # without a remark: warnings are errors here
        assert picture.shape[1::-1] == size
        assert differs(picture, np.full(picture.shape, colour)) == 0
    with pytest.raises(ImageError, match="has 3 frames or pages, no frame 3; expected --frame 0 to 2"):
        read_picture(tmp_path / f"many.{suffix}", Reading(frame=3))


def test_a_picture_of_one_frame_has_frame_0_alone(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "one.jpg")
    assert read_picture(tmp_path / "one.jpg", Reading(frame=0)).shape == (10, 20, 3)
    with pytest.raises(ImageError, match="has one frame, no frame 1; expected --frame 0"):
        read_picture(tmp_path / "one.jpg", Reading(frame=1))
    with pytest.raises(ImageError, match="Expected frame as the number"):
        Reading(frame=-1)


def test_the_array_can_be_written_to(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "scene.png")
    picture = read_picture(tmp_path / "scene.png")
    picture[0, 0] = 0  # torch.from_numpy warns of arrays that cannot
    assert picture.flags.c_contiguous


def test_a_32_bit_picture_that_holds_8_bit_levels_keeps_them(tmp_path: Path) -> None:
    grey = Image.fromarray(scene()).convert("L")
    grey.convert("I").save(tmp_path / "i.tif")
    assert differs(read_picture(tmp_path / "i.tif"), np.repeat(np.asarray(grey)[..., None], 3, axis=2)) == 0
