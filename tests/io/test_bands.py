"""Pictures of any number of bands: chosen, scaled and shown as the config says, whatever file they come from."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camtool.errors import CamtoolWarning, ImageError
from camtool.io import pillow
from camtool.io.band_files import band_files
from camtool.io.bands import read_bands, view_of
from camtool.io.images import read_picture
from camtool.io.pillow import Reading
from tests.io.tiff_files import write_tiff


def drawn(bands: int, dtype: Any = np.uint16, highest: float = 4000) -> np.ndarray:
    return (np.random.default_rng(0).random((20, 24, bands)) * highest).astype(dtype)


def written(folder: Path, values: np.ndarray, kind: str) -> Path:
    """Write the bands as a file of this kind, and return its path."""
    path = folder / f"x.{kind.split(maxsplit=1)[0]}"
    if kind == "tif":
        write_tiff(path, values)
    elif kind == "npy":
        np.save(path, values)
    elif kind == "npy c h w":
        np.save(path, np.ascontiguousarray(values.transpose(2, 0, 1)))
    elif kind == "npy by columns":
        np.save(path, np.asfortranarray(values))
    elif kind == "tif pages":
        first, *others = (Image.fromarray(values[..., band]) for band in range(values.shape[2]))
        first.save(path, save_all=True, append_images=others)
    return path


@pytest.mark.parametrize("kind", ["tif", "npy", "npy c h w", "npy by columns", "tif pages"])
@pytest.mark.parametrize("channels", [(0,), (3, 0, 12), tuple(range(13))])
def test_chosen_bands_are_those_of_the_file_scaled_by_the_range(tmp_path: Path, kind: str, channels: tuple[int, ...]) -> None:
    values = drawn(13)
    found = read_bands([written(tmp_path, values, kind)], "x", Reading(value_range=(500.0, 3000.0), channels=channels))

    expected = ((values[..., list(channels)].astype(float) - 500) / 2500).clip(0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("dtype", "factor"), [(np.uint8, 1 / 255), (np.uint16, 1 / 65535), (np.float32, 1), (np.float64, 1)])
def test_without_a_range_a_type_has_its_own(tmp_path: Path, dtype: Any, factor: float) -> None:
    values = drawn(4, dtype, 200)
    found = read_bands([written(tmp_path, values, "npy")], "x", Reading(channels=(2, 1)))
    np.testing.assert_allclose(found, values[..., [2, 1]].astype(float) * factor, rtol=1e-6)


def test_integers_without_a_usual_range_ask_for_one(tmp_path: Path) -> None:
    path = written(tmp_path, drawn(4, np.int16), "tif")
    with pytest.raises(ImageError, match=r"numbers of the type int16, which has no usual range; expected value_range"):
        read_bands([path], str(path), Reading(channels=(0,)))


def test_pictures_of_pillow_have_bands_too(tmp_path: Path) -> None:
    values = drawn(4, np.uint8, 255)
    Image.fromarray(values).save(tmp_path / "x.png")
    found = read_bands([tmp_path / "x.png"], "x", Reading(channels=(3, 2, 1, 0)))
    np.testing.assert_allclose(found, values[..., ::-1] / 255.0, atol=1e-6)  # none of them taken for opacity


def test_no_data_is_zero(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.float32([[np.nan, 0.5], [np.inf, 0.25]]))
    found = read_bands([tmp_path / "x.npy"], "x", Reading(channels=(0,), value_range=(0.0, 1.0)))
    assert found[..., 0].tolist() == [[0, 0.5], [1, 0.25]]


@pytest.mark.parametrize("kind", ["tif", "npy"])
def test_a_band_that_is_not_there_and_a_damaged_file_are_named(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, drawn(4), kind)
    with pytest.raises(ImageError, match=r"has 4 bands; expected one with a band 4, counted from 0"):
        read_bands([path], str(path), Reading(channels=(0, 4)))
    content = path.read_bytes()
    for length in range(8, len(content) - 1, 37):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError, match=f"Picture '{path}' cannot be read"):
            read_bands([path], str(path), Reading(channels=(0,)))


def test_an_array_whose_header_is_no_python_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", drawn(1))
    whole = (tmp_path / "x.npy").read_bytes()
    for damaged in (whole.replace(b"}", b" "), whole.replace(b"{", b"%")):
        (tmp_path / "x.npy").write_bytes(damaged)
        with pytest.raises(ImageError, match="truncated or damaged"):
            read_bands([tmp_path / "x.npy"], "x", Reading(channels=(0,)))


def test_arrays_of_objects_are_refused_unread(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    np.save(tmp_path / "x.npy", np.array([[Runs()]], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match=r"type object; expected numbers"):
        read_bands([tmp_path / "x.npy"], "x", Reading(channels=(0,)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["tif", "npy"])
def test_what_decoding_takes_is_known_before(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, drawn(13), kind)
    with pytest.raises(ImageError, match=r"expected at most 200"):
        read_bands([path], "x", Reading(channels=(0,), max_pixels=200))
    monkeypatch.setattr("camtool.io.pillow.MOST_BYTES", 10_000)
    with pytest.raises(ImageError, match="to decode; expected at most"):
        read_bands([path], "x", Reading(channels=(0,)))
    assert pillow.MOST_BYTES == 10_000


def test_a_file_for_each_band_gives_what_one_file_of_all_gives(tmp_path: Path) -> None:
    values, names = drawn(3), ["B02", "B03", "B8A"]
    for band, name in enumerate(names):
        Image.fromarray(values[..., band]).save(tmp_path / f"T32_{name}.tif")
    reading = Reading(channels=("B8A", "B02", "B03"), value_range=(0.0, 4000.0))
    ((picture, files),) = band_files([str(tmp_path)], reading.band_names).items()

    assert picture == str(tmp_path / "T32")
    found = read_bands(list(files), picture, reading)
    together = written(tmp_path, values, "npy")
    np.testing.assert_array_equal(found, read_bands([together], "x", Reading(channels=(2, 0, 1), value_range=(0.0, 4000.0))))


def test_files_of_different_sizes_or_of_several_bands_are_no_picture(tmp_path: Path) -> None:
    reading = Reading(channels=("a", "b"))
    np.save(tmp_path / "a.npy", drawn(1, np.uint8))
    for other, said in (
        (np.zeros((5, 5), np.uint8), r"of several sizes, 24x20 .* and 5x5 .*Resample"),
        (drawn(4, np.uint8), "has 4 bands"),
    ):
        np.save(tmp_path / "b.npy", other)
        with pytest.raises(ImageError, match=said):
            read_bands([tmp_path / "a.npy", tmp_path / "b.npy"], "x", reading)


@pytest.mark.parametrize(
    ("files", "pictures"),
    [
        (["a/B4.tif", "a/B8.tif"], {"a": ["a/B4.tif", "a/B8.tif"]}),
        (["a/NB4_B4.tif", "a/NB4_B8.tif"], {"a/NB4": ["a/NB4_B4.tif", "a/NB4_B8.tif"]}),
        (["a/B8.tif", "a/B4.tif", "b/B4.tif", "b/B8.tif"], {"a": ["a/B4.tif", "a/B8.tif"], "b": ["b/B4.tif", "b/B8.tif"]}),
        (
            ["s1_B8_10m.tif", "s2_B4_10m.tif", "s2_B8_10m.tif", "s1_B4_10m.tif"],
            {"s1__10m": ["s1_B4_10m.tif", "s1_B8_10m.tif"], "s2__10m": ["s2_B4_10m.tif", "s2_B8_10m.tif"]},
        ),
    ],
)
def test_files_that_differ_in_the_band_alone_are_one_picture(files: Sequence[str], pictures: dict[str, list[str]]) -> None:
    found = band_files(files, ["B4", "B8"])
    assert {name: list(map(str, row)) for name, row in found.items()} == pictures


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a_B4.tif"], "Picture 'a' has no file of the band 'B8'"),
        (["a_B4.tif", "a_B44.tif"], "'a_B44.tif' is of none of the bands 'B4', 'B8'"),
        (["a_B4.tif", "a_B8.tif", "a_B4.png"], "has two files of the band 'B4', 'a_B4.tif' and 'a_B4.png'"),
    ],
)
def test_files_that_make_no_picture_are_named(files: Sequence[str], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        band_files(files, ["B4", "B8"])


def test_bands_are_looked_at_as_they_are_or_stretched_where_they_are_dark() -> None:
    bright = np.random.default_rng(0).random((8, 8, 4), dtype=np.float32)
    np.testing.assert_array_equal(view_of(bright, [2, 1, 0]), np.round(bright[..., [2, 1, 0]] * 255).astype(np.uint8))
    dark = view_of(bright / 100, [3])
    assert dark.max() == 255
    assert dark.min() == 0
    assert (dark[..., 0] == dark[..., 2]).all()


@pytest.mark.parametrize("values", [drawn(1, np.uint8, 255), drawn(3, np.uint8, 255), drawn(3, np.float32, 1)])
def test_an_array_file_is_a_picture_if_it_is_grey_or_rgb(tmp_path: Path, values: np.ndarray) -> None:
    picture = read_picture(written(tmp_path, values, "npy"))
    expected = values if values.dtype == np.uint8 else np.round(values * 255)
    np.testing.assert_allclose(picture, np.broadcast_to(expected, picture.shape), atol=1)


@pytest.mark.parametrize("kind", ["tif", "npy"])
def test_a_file_of_other_bands_says_how_a_config_takes_them(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, drawn(5), kind)
    with pytest.raises(ImageError, match=r"has 5 bands; expected 1 or 3, .*preprocess=dict\(channels=\[0, 1, 2, 3, 4\]\)"):
        read_picture(path)


def test_of_pages_that_are_no_bands_one_is_chosen(tmp_path: Path) -> None:
    first, second = drawn(3, np.uint8, 255), drawn(3, np.uint8, 99)
    Image.fromarray(first).save(tmp_path / "x.tif", save_all=True, append_images=[Image.fromarray(second)])
    with pytest.warns(CamtoolWarning, match=r"has 2 frames or pages; frame 0 is read\. --frame N reads another, 0 to 1"):
        assert read_bands([tmp_path / "x.tif"], "x", Reading(channels=(0,))).max() == pytest.approx(first[..., 0].max() / 255)
    found = read_bands([tmp_path / "x.tif"], "x", Reading(channels=(0,), frame=1))
    assert found.max() == pytest.approx(second[..., 0].max() / 255)
    with pytest.raises(ImageError, match="has 2 frames or pages, no frame 2; expected --frame 0 to 1"):
        read_bands(io.BytesIO((tmp_path / "x.tif").read_bytes()), "x", Reading(channels=(0,), frame=2))
