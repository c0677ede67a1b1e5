"""Pictures as PDF and SVG."""

import base64
import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from camtool.io.images import FORMATS, check_format, encode


@pytest.fixture
def picture() -> np.ndarray:
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8), (40, 30))


def test_an_svg_holds_the_picture_without_loss(picture: np.ndarray) -> None:
    content = encode(picture, ".SVG")
    assert b'width="40" height="30" viewBox="0 0 40 30"' in content
    data = re.search(rb'href="data:image/png;base64,([^"]+)"', content)
    assert data is not None
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1])))), picture)


def test_a_pdf_is_one_page_of_the_pictures_size_and_holds_it(picture: np.ndarray) -> None:
    content = encode(picture, ".pdf")
    assert content == encode(picture, ".pdf"), "no date is written"
    assert content.startswith(b"%PDF-")
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+) *\]", content)
    assert box is not None
    assert (float(box[1]), float(box[2])) == (40, 30)
    start = content.index(b"\xff\xd8\xff")
    inside = np.asarray(Image.open(io.BytesIO(content[start:])))
    assert np.abs(inside.astype(int) - picture).mean() < 3


def test_both_are_formats_of_figures() -> None:
    assert {".pdf", ".svg"} <= set(FORMATS)
    check_format(".pdf")
