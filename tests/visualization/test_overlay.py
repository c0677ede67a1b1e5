import cv2
import matplotlib
import numpy as np
import pytest

from camtool.errors import OutputError
from camtool.io.images import FORMATS, check_format, encode
from camtool.visualization.overlay import COLORMAPS, check_style, heatmap, overlay


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def ramp() -> np.ndarray:
    """A map (30, 40) that rises from 0 at the left to 1 at the right."""
    return np.linspace(0, 1, 40, dtype=np.float32)[None].repeat(30, axis=0)


def test_opacity_0_is_the_picture_itself(picture: np.ndarray, ramp: np.ndarray) -> None:
    np.testing.assert_array_equal(overlay(picture, ramp, opacity=0.0), picture)


def test_opacity_1_is_the_heatmap_itself(picture: np.ndarray, ramp: np.ndarray) -> None:
    np.testing.assert_array_equal(overlay(picture, ramp, "viridis", opacity=1.0), heatmap(ramp, "viridis"))


def test_opacity_mixes_linearly(picture: np.ndarray, ramp: np.ndarray) -> None:
    expected = 0.7 * picture + 0.3 * heatmap(ramp)
    assert np.abs(overlay(picture, ramp, opacity=0.3) - expected).max() <= 0.51


def test_jet_runs_from_blue_to_red_in_rgb() -> None:
    low, middle, high = heatmap(np.array([[0, 0.5, 1]], dtype=np.float32))[0].astype(int)
    assert low[2] > 100 > low[0] + low[1]
    assert middle[1] > 200
    assert high[0] > 100 > high[1] + high[2]


@pytest.mark.parametrize("name", ["jet", "Viridis", "bone", "coolwarm", "RdBu"])
def test_a_reversed_colour_map_shows_the_opposite_value(name: str) -> None:
    ramp = np.arange(256)[None] / 255
    # matplotlib interpolates its reversed maps anew
    difference = heatmap(ramp, f"{name}_r").astype(int) - heatmap(1 - ramp, name)
    assert np.abs(difference).max() <= (1 if name == "RdBu" else 0)


@pytest.mark.parametrize("name", ["coolwarm", "RdBu", "Greys", "hot_r", "jet"])
def test_colours_are_those_of_the_library(name: str) -> None:
    levels = np.linspace(0, 1, 256)
    colours = heatmap(levels[None], name)[0]
    expected = matplotlib.colormaps[name](levels, bytes=True)[:, :3]
    if name == "jet":  # where both have it, OpenCV's, which was there first
        expected = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)[0, :, ::-1]
    if name == "hot_r":
        expected = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_HOT)[0, ::-1, ::-1]
    np.testing.assert_array_equal(colours, expected)


def test_a_colour_map_of_neither_library_is_refused() -> None:
    with pytest.raises(OutputError, match=r"Unknown colormap 'coolwrm'; closest: 'coolwarm'.*; expected one of OpenCV's: "):
        check_style("coolwrm", 0.5)


def test_viridis_has_the_colours_of_matplotlib() -> None:
    ends = heatmap(np.array([[0.0, 1.0]], dtype=np.float32), "viridis")[0].astype(int)
    assert np.abs(ends - [(68, 1, 84), (253, 231, 37)]).max() <= 2


def test_values_outside_the_range_are_clipped_not_wrapped() -> None:
    np.testing.assert_array_equal(heatmap(np.array([[-0.5, 1.5]], dtype=np.float32)), heatmap(np.array([[0.0, 1.0]], dtype=np.float32)))


def test_where_the_network_saw_nothing_the_picture_is_untouched_and_the_heatmap_black(picture: np.ndarray, ramp: np.ndarray) -> None:
    ramp[:, :15] = np.nan
    drawn = overlay(picture, ramp, opacity=0.8)
    np.testing.assert_array_equal(drawn[:, :15], picture[:, :15])
    assert (drawn[:, 15:] != picture[:, 15:]).any(axis=2).mean() > 0.9
    assert not heatmap(ramp)[:, :15].any()


def test_inputs_are_not_changed(picture: np.ndarray, ramp: np.ndarray) -> None:
    ramp[0, 0] = np.nan
    before = picture.copy(), ramp.copy()
    overlay(picture, ramp)
    np.testing.assert_array_equal(picture, before[0])
    np.testing.assert_array_equal(ramp, before[1])


@pytest.mark.parametrize("name", COLORMAPS)
def test_every_colormap_that_is_offered_draws(name: str, ramp: np.ndarray) -> None:
    check_style(name.upper(), 0.5)
    assert len(np.unique(heatmap(ramp, name.upper()).reshape(-1, 3), axis=0)) > 5


def test_an_unknown_colormap_has_the_nearest() -> None:
    with pytest.raises(OutputError, match=r"Unknown colormap 'virids'; closest: 'viridis'.*; expected one of OpenCV's: .*jet"):
        check_style("virids", 0.5)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan"), float("inf")])
def test_an_opacity_outside_0_to_1_is_refused(opacity: float) -> None:
    with pytest.raises(OutputError, match="--opacity must be between 0 and 1, got"):
        check_style("jet", opacity)


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_the_ends_of_the_range_of_opacity_are_allowed(opacity: float) -> None:
    check_style("jet", opacity)


# encode


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG"])
def test_lossless_formats_keep_every_pixel_in_rgb(picture: np.ndarray, suffix: str) -> None:
    decoded = cv2.imdecode(np.frombuffer(encode(picture, suffix), dtype=np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], picture)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_keep_the_colours(suffix: str) -> None:
    flat = np.full((32, 32, 3), (200, 80, 20), dtype=np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode(flat, suffix), dtype=np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decoded.astype(int) - flat).max() <= 4


@pytest.mark.parametrize(("suffix", "magic"), [(".jpg", b"\xff\xd8"), (".png", b"\x89PNG"), (".webp", b"RIFF"), (".bmp", b"BM")])
def test_the_suffix_chooses_the_format(picture: np.ndarray, suffix: str, magic: bytes) -> None:
    assert encode(picture, suffix).startswith(magic)


@pytest.mark.parametrize("suffix", ["", ".gif", ".txt", ".jpgg", "png"])
def test_a_suffix_that_is_no_picture_format_is_refused(picture: np.ndarray, suffix: str) -> None:
    for act in (check_format, lambda suffix: encode(picture, suffix)):
        with pytest.raises(OutputError, match=r"Cannot write an image as '.*'; expected \.jpg, \.jpeg, \.png"):
            act(suffix)
    assert ".webp" in FORMATS


def test_a_picture_too_large_for_its_format_is_refused() -> None:
    with pytest.raises(OutputError, match=r"An image of 70000x2 cannot be written as \.jpg; choose another format"):
        encode(np.zeros((2, 70_000, 3), dtype=np.uint8), ".jpg")
