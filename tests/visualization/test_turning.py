"""Films of volumes: what is seen from which side, and the files."""

from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from camtool.errors import OutputError
from camtool.io.atomic import write_atomically
from camtool.io.volumes import Geometry
from camtool.visualization import turning as film
from camtool.visualization.figures import Style
from camtool.visualization.overlay import heatmap
from camtool.visualization.turning import encode_frames, turning
from camtool.visualization.volume_views import MARGIN, framed
from tests.volumes import ORIENTATIONS, head, stored

FULL_SCAN, FULL_MAP, FULL_AFFINE = head()
AFFINE = FULL_AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0])
SCAN, MAP = (np.ascontiguousarray(values[::2, ::2, ::2]) for values in (FULL_SCAN, FULL_MAP))
HEAD = Geometry(AFFINE)
GREY = Style(kind="heatmap", colormap="gray")


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The letters of every frame that is drawn."""
    letters = []
    monkeypatch.setattr(film, "framed", lambda picture, ends: (letters.append(ends), framed(picture, ends))[1])
    return letters


def inner(frame: np.ndarray) -> np.ndarray:
    return frame[MARGIN:-MARGIN, MARGIN:-MARGIN]


def brightest(picture: np.ndarray) -> tuple[float, float]:
    """Return where a picture is brightest, in pixels from its middle."""
    rows, columns = np.nonzero(picture[..., 0] >= picture[..., 0].max() - 8)
    return columns.mean() - (picture.shape[1] - 1) / 2, rows.mean() - (picture.shape[0] - 1) / 2


def test_one_walks_around_from_the_front_to_the_patients_left(sides: list[Any]) -> None:
    frames = turning(SCAN, MAP, HEAD, GREY, frames=4)
    assert sides == [(letters, ("S", "I")) for letters in (("R", "L"), ("A", "P"), ("L", "R"), ("P", "A"))]
    pixel = film.SIDE / (37 * 4)  # of a millimetre
    marker = {"R": -24, "L": 24, "A": -16, "P": 16}  # millimetres from the middle of the head towards that side
    for frame, ((_, right), _) in zip(frames, sides, strict=True):
        across, down = brightest(inner(frame))
        assert across == pytest.approx(marker[right] * pixel, abs=2)
        assert down == pytest.approx((-18 + 3) * pixel, abs=4)  # the volume's middle is 3 mm above zero


def test_letters_name_the_nearest_direction_on_the_way(sides: list[Any]) -> None:
    turning(SCAN, MAP, HEAD, GREY, frames=16)
    assert [letters for letters, _ in sides][:5] == [("R", "L"), ("R", "L"), ("R", "L"), ("A", "P"), ("A", "P")]


def test_however_the_anatomy_is_stored_the_film_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "SIDE", 40)
    saliency = MAP.copy()
    saliency[:5] = np.nan
    expected = turning(SCAN, saliency, HEAD, Style(), frames=3)
    for axes, flips in ORIENTATIONS:
        scan, geometry = stored(SCAN, AFFINE, axes, flips)
        np.testing.assert_array_equal(turning(scan, stored(saliency, AFFINE, axes, flips)[0], geometry, Style(), frames=3), expected)


@pytest.mark.parametrize(("axis", "depth"), [("z", 1), ("y", 2), ("x", 2)])
def test_the_first_frame_is_the_highest_value_along_an_axis(axis: str, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "SIDE", 16)  # a pixel a voxel
    saliency = np.random.default_rng(0).random((16, 16, 16)).astype(np.float32)
    saliency[:, :3, :] = np.nan
    (frame,) = turning(np.zeros((16, 16, 16)), saliency, None, GREY, axis=axis, frames=1)
    upright = "xyz".index(axis)
    (across,) = {0, 1, 2} - {upright, depth}
    expected = np.nanmax(np.where(np.isnan(saliency), -1, saliency), axis=depth)
    expected = expected if across > upright else expected.T
    picture = inner(frame)
    start = (picture.shape[1] - 16) // 2
    shown = heatmap(np.where(expected < 0, np.nan, expected), "gray")
    assert np.abs(picture[:, start : start + 16].astype(int) - shown).max() <= 1


def test_of_a_signed_map_the_largest_magnitude_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "SIDE", 9)
    saliency = np.full((9, 9, 9), 0.5, np.float32)
    saliency[2, 3, 4], saliency[2, 6, 4], saliency[5, 5, 5] = 0.1, 0.7, 0.8
    (frame,) = turning(np.zeros((9, 9, 9)), saliency, None, Style(kind="heatmap", colormap="gray", signed=True), axis="z", frames=1)
    picture = inner(frame)[..., 0]
    start = (picture.shape[1] - 9) // 2
    np.testing.assert_allclose([picture[4, start + 2], picture[5, start + 5], picture[0, start]], [0.1 * 255, 0.8 * 255, 0.5 * 255], atol=1)


def test_the_axis_is_not_guessed() -> None:
    with pytest.raises(OutputError, match="Which axis is axial is not known of a scan without orientation; name one of x, y, z"):
        turning(SCAN, MAP, None, Style())
    with pytest.raises(OutputError, match="Expected a number of frames above 0, got 0"):
        turning(SCAN, MAP, HEAD, Style(), frames=0)


def some_frames(height: int = 50, width: int = 71) -> np.ndarray:
    """Return frames, red at the left and blue at the right, that become brighter."""
    frames = np.zeros((6, height, width, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:, : width // 2, 0] = 100 + 25 * number
        frame[:, width // 2 :, 2] = 100 + 25 * number
    return frames


def test_a_gif_repeats_and_keeps_its_colours() -> None:
    frames = some_frames()
    image = Image.open(BytesIO(encode_frames(frames, ".GIF", rate=10.0)))
    assert (image.n_frames, image.size, image.info["loop"], image.info["duration"]) == (6, (71, 50), 0, 100)
    for number, frame in enumerate(frames):
        image.seek(number)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).max() <= 4


def test_a_gif_that_would_be_too_large_has_smaller_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 400, 300, 3), dtype=np.uint8)
    whole = encode_frames(frames, ".gif")
    monkeypatch.setattr(film, "MOST_BYTES", len(whole) // 2)
    bounded = encode_frames(frames, ".gif")
    assert len(bounded) <= len(whole) // 2
    image = Image.open(BytesIO(bounded))
    assert (image.n_frames, image.size) == (4, (225, 300)) or image.size == (168, 225)


def test_an_mp4_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "turning.mp4"
    write_atomically(path, encode_frames(some_frames(51, 71), ".mp4", rate=10.0))
    assert [file.name for file in path.parent.iterdir()] == ["turning.mp4"]
    reader = cv2.VideoCapture(str(path))
    read = []
    while True:
        succeeded, frame = reader.read()
        if not succeeded:
            break
        read.append(frame[..., ::-1])
    assert (len(read), reader.get(cv2.CAP_PROP_FPS)) == (6, 10)
    assert read[0].shape == (52, 72, 3)
    left, right = read[5][25, 15].astype(int), read[5][25, 55].astype(int)
    assert np.abs(left - (225, 0, 0)).max() < 25
    assert np.abs(right - (0, 0, 225)).max() < 25


@pytest.mark.parametrize("suffix", ["", ".avi", "gif"])
def test_another_suffix_is_refused(suffix: str) -> None:
    with pytest.raises(OutputError, match=r"Cannot write a film as '.*'; expected \.gif or \.mp4"):
        encode_frames(some_frames(), suffix)


def test_where_opencv_writes_no_mp4_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *arguments: Any) -> None: ...

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return False

    monkeypatch.setattr(film.cv2, "VideoWriter", Closed)
    with pytest.raises(OutputError, match=r"This system's OpenCV writes no MP4; choose a path that ends in \.gif"):
        encode_frames(some_frames(), ".mp4")
