"""Figures of volumes: left is left however the array is stored, slices are those that the captions say."""

from typing import Any

import cv2
import numpy as np
import pytest

from camtool.errors import ImageError, OutputError
from camtool.io.volumes import Geometry, Volume
from camtool.models.sources.volume_preprocessing import VolumePreprocess
from camtool.visualization import volumes
from camtool.visualization.figures import Cell, Style
from camtool.visualization.volume_views import MARGIN, Scan, framed, resampled
from camtool.visualization.volumes import Slices, montage, strip
from tests.volumes import ORIENTATIONS, head, random_geometry, stored

FULL_SCAN, FULL_MAP, FULL_AFFINE = head()
AFFINE = FULL_AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0])
SCAN, MAP = (np.ascontiguousarray(values[::2, ::2, ::2]) for values in (FULL_SCAN, FULL_MAP))
HEAD = Geometry(AFFINE)
DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def shown(saliency: np.ndarray, title: str = "ventricle (3)") -> Cell:
    return Cell(saliency, title, "gradcam at layer4")


@pytest.fixture
def slices_drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, Any, Any]]:
    """The (picture, letters at its edges, mark) of every slice that is drawn."""
    calls = []

    def recorded(picture: np.ndarray, ends: Any, mark: Any = None) -> np.ndarray:
        calls.append((picture, tuple(ends), mark))
        return framed(picture, ends, mark)

    monkeypatch.setattr(volumes, "framed", recorded)
    return calls


def brightest(picture: np.ndarray) -> tuple[float, float]:
    """Return where a picture is brightest, as shares of its width and height."""
    rows, columns = np.nonzero(picture.sum(axis=2) >= picture.sum(axis=2).max() * 0.95)
    return (columns.mean() + 0.5) / picture.shape[1], (rows.mean() + 0.5) / picture.shape[0]


def oblique() -> np.ndarray:
    turn = np.eye(4)
    turn[:2, :2] = [[0.95, -((1 - 0.95**2) ** 0.5)], [(1 - 0.95**2) ** 0.5, 0.95]]
    return turn @ AFFINE


@pytest.mark.parametrize("affine", [AFFINE, oblique()], ids=["straight", "oblique"])
def test_however_the_anatomy_is_stored_the_montage_is_the_same_picture(affine: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "SIDE", 90)
    expected = montage(SCAN, [shown(MAP)], Geometry(affine), Style())
    for axes, flips in ORIENTATIONS:
        scan, geometry = stored(SCAN, affine, axes, flips)
        saliency, _ = stored(MAP, affine, axes, flips)
        np.testing.assert_array_equal(montage(scan, [shown(saliency)], geometry, Style()), expected)
    mirrored = montage(SCAN[::-1], [shown(MAP[::-1])], Geometry(affine), Style())
    assert (mirrored != expected).any()


def test_left_is_at_the_right_and_front_and_top_are_where_the_letters_say(slices_drawn: list[Any]) -> None:
    montage(SCAN, [shown(MAP)], HEAD, Style(kind="heatmap", colormap="gray"), crosshair=False)
    # The marker lies at the patient's left, behind and above the middle.
    assert [ends for _, ends, _ in slices_drawn] == [(("R", "L"), ("A", "P")), (("R", "L"), ("S", "I")), (("A", "P"), ("S", "I"))]
    world = {
        "R": 24 + 60,
        "L": 60 - 24,
        "A": 72 + 16,
        "P": 72 - 16,
        "S": 60 - 18,
        "I": 60 + 18,
    }  # millimetres from the marker to that border
    for picture, (across, down), _ in slices_drawn:
        at = brightest(picture)
        for share, (first, last) in zip(at, (across, down), strict=True):
            assert share == pytest.approx(world[first] / (world[first] + world[last]), abs=0.04)


def test_the_nose_is_in_front(slices_drawn: list[Any]) -> None:
    montage(SCAN, [shown(MAP)], HEAD, Style(opacity=0.0), at=(15, 34, 8), crosshair=False)
    (axial, _, _), _, (sagittal, _, _) = slices_drawn
    rows, columns = (np.nonzero(axial.any(axis=(1, 2)))[0], np.nonzero(sagittal.any(axis=(0, 2)))[0])
    assert rows[0] / len(axial) < 1 - rows[-1] / len(axial)  # the nose reaches further to the top than the head to the bottom
    assert columns[0] / sagittal.shape[1] < 1 - columns[-1] / sagittal.shape[1]


@pytest.mark.parametrize("number", range(12))
def test_letters_are_where_the_world_has_them(number: int) -> None:
    geometry = random_geometry(np.random.default_rng(number), oblique=0.25)
    scan = Scan.of(np.zeros((4, 5, 6)), geometry)
    for axis, (first, last) in enumerate(scan.ends):
        far = [0, 0, 0]
        far[axis] = scan.grey.shape[axis] - 1
        way = geometry.world(np.array(scan.stored(far), float)) - geometry.world(np.array(scan.stored([0, 0, 0]), float))
        nearest = max(DIRECTIONS, key=lambda letter: way @ DIRECTIONS[letter])
        assert (first, last) == (min(DIRECTIONS, key=lambda letter: way @ DIRECTIONS[letter]), nearest)
        assert scan.spacing[axis] == pytest.approx(np.linalg.norm(way) / far[axis])
    assert scan.displayed(scan.stored([1, 2, 3])) == (1, 2, 3)


@pytest.mark.parametrize(
    ("ends", "where"),
    [((("R", ""), ("", "")), "left"), ((("", "L"), ("", "")), "right"), ((("", ""), ("A", "")), "top"), ((("", ""), ("", "P")), "bottom")],
)
def test_a_letter_stands_at_its_edge_outside_of_the_picture(ends: Any, where: str) -> None:
    drawn = framed(np.zeros((40, 60, 3), np.uint8), ends)
    assert drawn.shape == (40 + 2 * MARGIN, 60 + 2 * MARGIN, 3)
    rows, columns = np.nonzero(drawn.any(axis=2))
    inside = {
        "left": columns.max() < MARGIN,
        "right": columns.min() >= 60 + MARGIN,
        "top": rows.max() < MARGIN,
        "bottom": rows.min() >= 40 + MARGIN,
    }
    assert [name for name, holds in inside.items() if holds] == [where]


def test_a_mirrored_header_mirrors_the_picture_and_leaves_the_letters(slices_drawn: list[Any]) -> None:
    montage(SCAN, [shown(MAP)], HEAD, Style(), crosshair=False)
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    montage(SCAN, [shown(MAP)], Geometry(mirror @ AFFINE), Style(), crosshair=False)
    for plain, mirrored in zip(slices_drawn[:2], slices_drawn[3:5], strict=True):
        assert plain[1] == mirrored[1]
        assert np.abs(plain[0][:, ::-1].astype(int) - mirrored[0]).max() <= 1


def test_slices_have_the_proportions_of_the_world(slices_drawn: list[Any]) -> None:
    montage(np.zeros((10, 20, 5)), [shown(np.zeros((10, 20, 5)))], Geometry.of_spacing((1.0, 1.0, 8.0)), Style())
    assert [picture.shape[:2] for picture, _, _ in slices_drawn] == [(150, 75), (300, 75), (300, 150)]


def test_the_crosshair_points_to_the_voxel_and_leaves_it_free(slices_drawn: list[Any]) -> None:
    at = (3, 30, 15)
    whole = montage(SCAN, [shown(MAP)], HEAD, Style(), at=at)
    plain = montage(SCAN, [shown(MAP)], HEAD, Style(), at=at, crosshair=False)
    picture, _, (across, down) = slices_drawn[0]
    assert across / picture.shape[1] == pytest.approx((SCAN.shape[0] - 1 - 3 + 0.5) / SCAN.shape[0])
    assert down / picture.shape[0] == pytest.approx((SCAN.shape[1] - 1 - 30 + 0.5) / SCAN.shape[1])
    left, top = 8 + MARGIN + int(across), 8 + MARGIN + int(down)
    changed = (whole != plain).any(axis=2)
    assert changed[top, left + 10]
    assert changed[top + 10, left]
    assert not changed[top - 5 : top + 6, left - 5 : left + 6].any()


def test_without_a_geometry_axes_are_named_as_they_lie_and_no_direction_is(slices_drawn: list[Any]) -> None:
    montage(SCAN, [shown(MAP)], None, Style(opacity=0.0), crosshair=False)
    assert [ends for _, ends, _ in slices_drawn] == [(("", "x"), ("", "y")), (("", "x"), ("", "z")), (("", "y"), ("", "z"))]
    place = np.unravel_index(MAP.argmax(), MAP.shape)
    first = slices_drawn[0][0]
    grey = Scan.of(SCAN, None).grey[:, :, place[2]].T
    np.testing.assert_array_equal(first[..., 0], (resampled(grey, first.shape[:2]).clip(0, 1) * 255).round().astype(np.uint8))


def test_a_signed_map_is_looked_at_where_its_magnitude_is_largest(slices_drawn: list[Any]) -> None:
    saliency = np.full(SCAN.shape, 0.5, np.float32)
    saliency[3, 30, 15], saliency[20, 5, 5] = 0.1, 0.8
    montage(SCAN, [shown(saliency)], None, Style(signed=True))
    montage(SCAN, [shown(saliency)], None, Style())
    marks = [slices_drawn[k][2][0] / slices_drawn[k][0].shape[1] * SCAN.shape[0] - 0.5 for k in (0, 3)]
    assert marks == pytest.approx([3, 20])


@pytest.mark.parametrize("saliency", [np.full(SCAN.shape, np.nan, np.float32), np.zeros(SCAN.shape, np.float32)], ids=["unseen", "flat"])
def test_a_map_without_a_maximum_is_looked_at_in_the_middle(saliency: np.ndarray, slices_drawn: list[Any]) -> None:
    montage(SCAN, [shown(saliency)], None, Style())
    montage(SCAN, [shown(saliency)], None, Style(), at=[side // 2 for side in SCAN.shape])
    for own, middle in zip(slices_drawn[:3], slices_drawn[3:], strict=True):
        np.testing.assert_array_equal(own[0], middle[0])


def test_what_the_network_did_not_see_shows_the_scan_alone(slices_drawn: list[Any]) -> None:
    unseen = MAP.copy()
    unseen[:, :, :10] = np.nan
    montage(SCAN, [shown(unseen)], HEAD, Style(opacity=0.8), crosshair=False)
    montage(SCAN, [shown(unseen)], HEAD, Style(opacity=0.0), crosshair=False)
    drawn, scan = slices_drawn[1][0], slices_drawn[4][0]
    part = round(len(scan) * 10 / SCAN.shape[2])
    np.testing.assert_array_equal(drawn[-part + 6 :], scan[-part + 6 :])
    assert (drawn[: -part - 6] != scan[: -part - 6]).any(axis=2).mean() > 0.9


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_black_and_change_no_others(bad: float) -> None:
    scan = SCAN.copy()
    scan[0, 0, 0] = bad
    plain = SCAN.copy()
    plain[0, 0, 0] = 0
    assert Scan.of(scan, None).grey[0, 0, 0] == 0
    assert np.abs(Scan.of(scan, None).grey - Scan.of(plain, None).grey).max() < 1e-3
    assert not Scan.of(np.full((2, 2, 2), bad), None).grey.any()
    assert not Scan.of(np.full((2, 2, 2), 7), None).grey.any()


def test_the_window_says_what_is_black_and_white() -> None:
    grey = Scan.of(np.array([[[-1000, -100, 0, 100, 1000]]], np.int16), None, (-100.0, 100.0)).grey
    np.testing.assert_allclose(grey.flatten(), [0, 0, 0.5, 1, 1])


def test_there_is_a_row_for_each_map_and_a_colour_bar_for_several_classes() -> None:
    one = montage(SCAN, [shown(MAP)], HEAD, Style())
    methods = montage(SCAN, [shown(MAP), shown(MAP)], HEAD, Style())
    classes = montage(SCAN, [shown(MAP), shown(MAP, "tumour (1)")], HEAD, Style())
    panel = montage(SCAN, [shown(MAP)], HEAD, Style(kind="panel"))
    assert len(methods) == 2 * len(one) < len(classes)
    assert len(panel) > 2.5 * len(one)
    remarked = montage(SCAN, [Cell(MAP, "ventricle (3)", "gradcam at layer4", "flat")], HEAD, Style(), alarm="RANDOM WEIGHTS")
    np.testing.assert_array_equal(remarked[: len(one)], one)
    assert len(remarked) > len(one) + 30


# strip


@pytest.fixture
def ramp() -> np.ndarray:
    """A scan (6, 7, 40) whose values are the index along z."""
    return np.broadcast_to(np.arange(40.0), (6, 7, 40)).astype(np.float32)


def levels(slices_drawn: list[Any]) -> list[int]:
    """Return the value of each slice that is drawn, of a scan in the window from 0 to 51."""
    return [round(picture[5, 5, 0] / 5) for picture, _, _ in slices_drawn]


def test_a_strip_is_spread_evenly_over_the_volume(ramp: np.ndarray, slices_drawn: list[Any]) -> None:
    strip(ramp, [shown(np.zeros_like(ramp))], Slices("z", 4, whole=True), None, Style(opacity=0.0), window=(0.0, 51.0))
    assert levels(slices_drawn) == [5, 15, 25, 35]


def test_a_strip_is_spread_over_the_support_of_its_maps(ramp: np.ndarray, slices_drawn: list[Any]) -> None:
    first, second = np.zeros_like(ramp), np.zeros_like(ramp)
    first[2, 2, 11], first[2, 2, 0], second[3, 3, 16] = 1, 0.05, 0.5
    strip(ramp, [shown(first), shown(second)], Slices("z", 3), None, Style(opacity=0.0), window=(0.0, 51.0))
    assert levels(slices_drawn) == [12, 14, 16] * 2
    slices_drawn.clear()
    strip(ramp, [shown(first)], Slices("z", 9), None, Style(opacity=0.0), window=(0.0, 51.0))
    assert levels(slices_drawn) == [11]


@pytest.mark.parametrize("flip", [False, True])
def test_anatomical_strips_rise_and_those_of_an_axis_go_by_index(flip: bool, ramp: np.ndarray, slices_drawn: list[Any]) -> None:
    geometry = Geometry(np.diag([1.0, 1.0, -1.0 if flip else 1.0, 1.0]))
    for axis in ("axial", "z"):
        strip(ramp, [shown(np.zeros_like(ramp))], Slices(axis, 4, whole=True), geometry, Style(opacity=0.0), window=(0.0, 51.0))
    by_index = [4, 14, 24, 34] if not flip else [5, 15, 25, 35]
    assert levels(slices_drawn)[4:] == by_index
    assert levels(slices_drawn)[:4] == (by_index[::-1] if flip else by_index)


def test_captions_of_a_strip_name_the_slice(ramp: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    original = volumes.text_lines
    monkeypatch.setattr(volumes, "text_lines", lambda texts, *rest, **named: (written.extend(texts), original(texts, *rest, **named))[1])
    affine = np.diag([1.0, 1.0, -2.0, 1.0])
    affine[2, 3] = 30
    strip(ramp, [shown(np.zeros_like(ramp))], Slices("axial", 2, whole=True), Geometry(affine), Style())
    strip(ramp, [shown(np.zeros_like(ramp))], Slices("z", 2, whole=True), None, Style())
    names = ["ventricle (3)", "gradcam at layer4"]
    assert written == ["z = 30", "I 30.0 mm", "z = 10", "S 10.0 mm", *names, "z = 10", "z = 30", *names]


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_an_anatomical_axis_is_not_guessed(axis: str) -> None:
    with pytest.raises(OutputError, match=f"Which axis is {axis} is not known of a scan without orientation; name one of x, y, z"):
        strip(SCAN, [shown(MAP)], Slices(axis, 3), None, Style())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"slices": Slices("axail", 3)},
            "Unknown axis 'axail'; closest: 'axial'; expected sagittal, coronal, axial, or x, y, z of the array",
        ),
        ({"slices": Slices("xy", 3)}, "Unknown axis 'xy'"),
        ({"slices": Slices("", 3)}, "Unknown axis ''"),
        ({"slices": Slices("x", 0)}, "Expected a number of slices above 0, got 0"),
        ({"at": (31, 0, 0)}, r"Expected a voxel \(x, y, z\) of the scan, which has 31x37x21, got \(31, 0, 0\)"),
        ({"at": (0, -1, 0)}, r"Expected a voxel \(x, y, z\) of the scan"),
        ({"at": (0, 0)}, r"Expected a voxel \(x, y, z\) of the scan"),
        ({"maps": [shown(MAP.transpose(1, 0, 2))]}, "Expected a map of the scan's size 31x37x21, got 37x31x21"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, Any], message: str) -> None:
    draw = strip if "slices" in arguments else montage
    with pytest.raises(OutputError, match=message):
        draw(**{"scan": SCAN, "maps": [shown(MAP)], "geometry": HEAD, "style": Style(), **arguments})


def test_arrays_are_left_as_they_were() -> None:
    scan, saliency = SCAN.copy(), MAP.copy()
    saliency[0] = np.nan
    before = scan.copy(), saliency.copy()
    montage(scan, [shown(saliency)], HEAD, Style())
    strip(scan, [shown(saliency)], Slices("axial", 2), HEAD, Style())
    np.testing.assert_array_equal(scan, before[0])
    np.testing.assert_array_equal(saliency, before[1])


def test_slices_become_smaller_by_means_and_larger_linearly() -> None:
    values = np.random.default_rng(0).random((8, 6)).astype(np.float32)
    np.testing.assert_allclose(resampled(values, (4, 6)), values.reshape(4, 2, 6).mean(axis=1), rtol=1e-5)
    both = resampled(values, (4, 12))
    np.testing.assert_allclose(both, cv2.resize(values.reshape(4, 2, 6).mean(axis=1), (12, 4)), rtol=1e-5)
    values[:4] = np.nan
    half = resampled(values, (16, 6))
    assert np.isnan(half[:8]).all()
    assert np.isfinite(half[8:]).all()


def test_a_spacing_alone_names_no_side() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    known, stated = Geometry.of_spacing((1, 2, 3), oriented=False), Geometry.of_spacing((1, 2, 3))

    scan = Scan.of(values, known)

    assert scan.ends == (("", "x"), ("", "y"), ("", "z"))
    assert scan.spacing == (1, 2, 3)
    assert scan.where((0, 1, 2), [0, 1, 2]) == "x = 0, y = 1, z = 2"
    assert Scan.of(values, stated).ends[0] == ("R", "L")
    with pytest.raises(OutputError, match="Which axis is axial is not known"):
        scan.axis_of("axial")
    with pytest.raises(ImageError, match=r"preprocess\.orientation needs a scan"):
        VolumePreprocess({"orientation": "RAS"})(Volume(values, known, "scan"))
    assert VolumePreprocess({"spacing": 1})(Volume(values, known, "scan")).shape == (1, 1, 2, 6, 12)
