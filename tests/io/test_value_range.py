"""Pictures whose values do not span what their type can hold, and what of a file is not read."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from camtool.errors import CamtoolWarning, ImageError
from camtool.io import pillow
from camtool.io.images import read_picture
from camtool.io.pillow import Reading


def ramp(highest: int) -> np.ndarray:
    return np.linspace(0, highest, 64 * 80).round().astype(np.uint16).reshape(64, 80)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_in_16_are_remarked_on_and_read_by_their_range(tmp_path: Path, bits: int, suffix: str) -> None:
    path, highest = tmp_path / f"x.{suffix}", 2**bits - 1
    Image.fromarray(ramp(highest)).save(path)
    with pytest.warns(CamtoolWarning, match=rf"no value above {highest}, but is read as 0 to 65535.*--value-range 0 {highest}\."):
        read_picture(path)
    picture = read_picture(path, Reading(value_range=(0.0, float(highest))))  # without a remark: warnings are errors here
    expected = ramp(highest) * (255 / highest)
    assert np.abs(picture - expected[..., None]).max() <= 0.51


def test_a_range_is_that_of_the_file_also_where_the_picture_is_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "KEPT_PIXELS", 600)
    Image.fromarray(np.full((64, 80), 1000, np.uint16)).save(tmp_path / "x.png")
    with pytest.warns(CamtoolWarning, match="to bound the memory"):
        picture = read_picture(tmp_path / "x.png", Reading(value_range=(0.0, 2000.0)))
    assert np.unique(picture).tolist() == [128]


def test_values_outside_of_the_range_are_clipped_in_every_type(tmp_path: Path) -> None:
    for name, values in (("u8", np.uint8([[0, 50], [100, 200]])), ("f", np.float32([[-9, 50], [100, 900]]))):
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
        picture = read_picture(tmp_path / f"{name}.tif", Reading(value_range=(50.0, 150.0)))
        assert picture[..., 0].tolist() == [[0, 0], [128, 255]]


def test_16_bit_colour_that_is_dark_is_remarked_on_and_has_no_range(tmp_path: Path) -> None:
    deep = np.repeat(ramp(4095)[..., None], 3, axis=2)
    (tmp_path / "x.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    with pytest.warns(CamtoolWarning, match="no value above 4095.*Save it with 8 bits"):
        read_picture(tmp_path / "x.png")
    with pytest.raises(ImageError, match="colour of 16 bits, of which 8 are read"):
        read_picture(tmp_path / "x.png", Reading(value_range=(0.0, 4095.0)))


def test_pictures_that_span_their_type_or_are_black_are_not_remarked_on(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in (ramp(65535), ramp(20000), np.zeros((8, 8), np.uint16), ramp(255).astype(np.uint8)):
            Image.fromarray(values).save(tmp_path / "x.png")
            read_picture(tmp_path / "x.png")


def test_a_fourth_band_of_a_tiff_is_remarked_on(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 4), 20, np.uint8)).save(tmp_path / "rgbn.tif")
    with pytest.warns(CamtoolWarning, match=r"last of 4 bands of '.*rgbn\.tif' is read as opacity"):
        read_picture(tmp_path / "rgbn.tif")


@pytest.mark.parametrize("value_range", [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(value_range: tuple[float, float]) -> None:
    with pytest.raises(ImageError, match="Expected value_range as the lowest and the highest value"):
        Reading(value_range=value_range)
