"""Where on the original the network looked: against arithmetic, and against objects whose place is known."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from camtool.errors import ImageError
from camtool.models import Network
from camtool.visualization.inverse_preprocessing import Geometry, measure_geometry, seen_picture
from tests.models.pipelines import FAMILIES, build, with_small_network

Preprocess = Callable[[np.ndarray], Tensor]


def blank(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def normalised(picture: np.ndarray) -> Tensor:
    return (torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() - 120) / 57


def shift(measured: Geometry, expected: np.ndarray) -> float:
    """Return how far apart, in pixels of the original, the two put the worst corner of the seen picture."""
    height, width = measured.seen_size
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]]).T
    return float(np.abs((measured.matrix - expected) @ corners).max())


def resized_and_cropped(width: int, height: int, scale: tuple[float, float], corner: tuple[int, int]) -> np.ndarray:
    """Return the matrix of a resize by 1 / `scale` (x, y), then a crop at `corner` (x, y), in pixel centres."""
    return np.array([[scale[0], 0, (corner[0] + 0.5) * scale[0] - 0.5], [0, scale[1], (corner[1] + 0.5) * scale[1] - 0.5]])


@pytest.mark.parametrize(
    "size",
    [(451, 300), (300, 451), (50, 40), (40, 50), (2000, 300), (300, 2000), (1600, 1200), (224, 224), (256, 257), (3000, 60), (10, 10)],
)
def test_a_resize_of_the_short_edge_and_a_centre_crop_are_measured(lite0: Network, size: tuple[int, int]) -> None:
    width, height = size
    geometry = measure_geometry(blank(*size), lite0.preprocess)
    resized = (int(width * 256 / height), 256) if height < width else (256, int(height * 256 / width))
    corner = tuple(round((side - 224) / 2) for side in resized)
    expected = resized_and_cropped(width, height, (width / resized[0], height / resized[1]), corner)
    assert (geometry.seen_size, geometry.original_size) == ((224, 224), (height, width))
    assert shift(geometry, expected) < 0.2


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (50, 40), (2000, 300), (4000, 3000)])
def test_a_squeeze_without_a_crop_is_measured(size: tuple[int, int]) -> None:
    width, height = size
    preprocess, _ = build(with_small_network(FAMILIES["squeezed to 384, Pillow bicubic"]))
    geometry = measure_geometry(blank(*size), preprocess)
    assert geometry.seen_size == (384, 384)
    assert shift(geometry, resized_and_cropped(width, height, (width / 384, height / 384), (0, 0))) < 0.2


@pytest.mark.parametrize("size", [(451, 300), (64, 90), (2000, 300)])
def test_efficientnets_crop_before_the_resize_is_measured(size: tuple[int, int]) -> None:
    preprocess, _ = build(with_small_network(FAMILIES["EfficientNet's crop, Pillow"]))
    geometry = measure_geometry(blank(*size), preprocess)
    side = geometry.seen_size[0]
    kept = int(side / (side + 32) * min(size))
    left, top = (round((length - kept) / 2) for length in size)
    expected = np.array([[kept / side, 0, left + 0.5 * kept / side - 0.5], [0, kept / side, top + 0.5 * kept / side - 0.5]])
    assert shift(geometry, expected) < 0.25


def test_no_change_at_all_is_the_identity() -> None:
    assert shift(measure_geometry(blank(120, 90), normalised), np.eye(2, 3)) < 0.05


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda picture: picture, [[1, 0, 0], [0, 1, 0]]),
        (lambda picture: picture[20:], [[1, 0, 0], [0, 1, 20]]),
        (lambda picture: picture[::-1], [[1, 0, 0], [0, -1, 119]]),
        (lambda picture: cv2.resize(picture, (1, 60), interpolation=cv2.INTER_AREA), [[1, 0, 0], [0, 2, 0.5]]),
        (lambda picture: cv2.resize(picture, (4, 120)), [[0.25, 0, -0.375], [0, 1, 0]]),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_signal_in_a_picture_one_pixel_wide_is_measured_along_time(
    change: Callable[[np.ndarray], np.ndarray], expected: list, turned: bool
) -> None:
    def preprocess(picture: np.ndarray) -> Tensor:
        return normalised(change(picture.transpose(1, 0, 2)).transpose(1, 0, 2) if turned else change(picture))

    (x, y), size = np.array(expected), (120, 1) if turned else (1, 120)
    wanted = np.array([y[[1, 0, 2]], x[[1, 0, 2]]]) if turned else np.array([x, y])
    assert shift(measure_geometry(blank(*size), preprocess), wanted) < 0.1


def test_a_single_pixel_is_seen_whole() -> None:
    np.testing.assert_allclose(measure_geometry(blank(1, 1), normalised).matrix, np.eye(2, 3))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda picture: picture[:, ::-1], [[-1, 0, 119], [0, 1, 0]]),
        (lambda picture: picture[::-1], [[1, 0, 0], [0, -1, 89]]),
        (lambda picture: picture.transpose(1, 0, 2), [[0, 1, 0], [1, 0, 0]]),
        (lambda picture: picture[20:, 30:], [[1, 0, 30], [0, 1, 20]]),
        (lambda picture: cv2.copyMakeBorder(picture, 10, 10, 5, 5, cv2.BORDER_CONSTANT), [[1, 0, -5], [0, 1, -10]]),
    ],
    ids=["mirrored", "upside down", "turned", "cropped", "padded"],
)
def test_flips_turns_crops_and_borders_are_measured(change: Callable[[np.ndarray], np.ndarray], expected: list) -> None:
    def preprocess(picture: np.ndarray) -> Tensor:
        return normalised(change(picture))

    geometry = measure_geometry(blank(120, 90), preprocess)
    assert shift(geometry, np.array(expected)) < 0.05


def polar(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return cv2.warpPolar(picture, (224, 224), (width / 2, height / 2), min(width, height) / 2, cv2.INTER_LINEAR)


def bent(picture: np.ndarray) -> np.ndarray:
    return (255 * (picture / 255.0) ** 2).round().astype(np.uint8)


@pytest.mark.parametrize(
    "change", [polar, bent, lambda picture: np.hstack([picture, picture[:, ::-1]])], ids=["polar", "gamma", "mirrored twice"]
)
def test_what_is_more_than_a_resize_and_a_crop_is_refused(change: Callable[[np.ndarray], np.ndarray]) -> None:
    with pytest.raises(ImageError, match="more than resizing and cropping and cannot be inverted; run without --original"):
        measure_geometry(blank(150, 120), lambda picture: normalised(change(picture)))


def test_a_crop_of_a_corner_is_too_little_to_go_by() -> None:
    with pytest.raises(ImageError, match="keeps too little of the image"):
        measure_geometry(blank(200, 200), lambda picture: normalised(picture[:3, :3]))


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (50, 40), (600, 300)])
def test_a_map_of_an_object_lands_on_the_object(lite0: Network, size: tuple[int, int]) -> None:
    width, height = size
    picture = blank(*size)
    column, row = int(width * 0.45), int(height * 0.6)
    radius = max(2, min(size) // 12)
    picture[row - radius : row + radius + 1, column - radius : column + radius + 1] = 255
    seen = seen_picture(lite0.preprocess(picture), lite0.preprocess)[..., 0] / np.float32(255)
    laid = measure_geometry(picture, lite0.preprocess).to_original(seen)
    assert laid.shape == (height, width)
    y, x = np.nonzero(np.nan_to_num(laid) > 0.5)
    assert abs(x.mean() - column) < 0.5
    assert abs(y.mean() - row) < 0.5
    assert len(x) == pytest.approx((2 * radius + 1) ** 2, rel=0.25)


def test_one_hot_cell_lands_on_its_square_of_the_original(lite0: Network) -> None:
    hot = np.zeros((224, 224), dtype=np.float32)
    hot[32:64, 160:192] = 1
    laid = measure_geometry(blank(1024, 512), lite0.preprocess).to_original(hot)
    # 1024x512 is halved to 512x256, then cropped by 144 at the left and 16 at the top.
    y, x = np.nonzero(laid > 0.5)
    assert [x.min(), x.max(), y.min(), y.max()] == pytest.approx([2 * 304, 2 * 336 - 1, 2 * 48, 2 * 80 - 1], abs=1)


def test_a_mirrored_map_is_mirrored_back() -> None:
    geometry = measure_geometry(blank(120, 90), lambda picture: normalised(picture[:, ::-1]))
    hot = np.zeros((90, 120), dtype=np.float32)
    hot[10, 5] = 1
    assert np.unravel_index(np.nanargmax(geometry.to_original(hot)), (90, 120)) == (10, 114)


def test_what_the_network_did_not_see_is_nan(lite0: Network) -> None:
    laid = measure_geometry(blank(1024, 512), lite0.preprocess).to_original(np.ones((224, 224), dtype=np.float32))
    assert laid.dtype == np.float32
    seen = ~np.isnan(laid)
    y, x = np.nonzero(seen)
    assert [x.min(), x.max(), y.min(), y.max()] == pytest.approx([288, 735, 32, 479], abs=1)
    assert seen.sum() == pytest.approx(448 * 448, rel=0.01)
    np.testing.assert_allclose(laid[seen], 1, atol=1e-5)


def test_a_picture_seen_whole_has_no_unseen_place() -> None:
    preprocess, _ = build(with_small_network(FAMILIES["squeezed to 384, Pillow bicubic"]))
    for size in ((451, 300), (50, 40), (2000, 300)):
        laid = measure_geometry(blank(*size), preprocess).to_original(np.ones((384, 384), dtype=np.float32))
        assert not np.isnan(laid).any(), size
