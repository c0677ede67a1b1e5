"""Rows of a store on their pictures: the map where the network saw it, scaled as a call's, and never over another picture."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import camtool.store
from camtool import CAM
from camtool.apis.picture_canvas import PictureCanvas
from camtool.apis.stored_pictures import StoredPicture, StoredPictures, scaled_map
from camtool.errors import CamtoolWarning, DataError, ImageError
from camtool.io.images import Picture, encode, read_picture
from camtool.io.pillow import Reading
from camtool.models.sources.by_kind import NetworkInput
from camtool.store import MapRow
from camtool.store.schema import Row
from camtool.visualization.inverse_preprocessing import measure_geometry, seen_picture
from camtool.visualization.overlay import overlay
from tests.store.made import failed, make_picture_store, make_store, random_rows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("placement", ["even", {"scale": 4.0, "offset": 0.0}])
def test_a_stored_map_is_scaled_and_placed_as_that_of_the_call(tmp_path: Path, placement: str | dict[str, float]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    result = CAM(model.eval(), "[0]", placement=placement)(torch.randn(5, 3, 18, 27))
    place = result.placement["[0]"]

    def rows(samples: Sequence[int]) -> list[Row]:
        where = (*place.scale, *place.offset)
        return [Row(i, str(i), "gradcam", layer="[0]", map=result.raw["[0]"][i], placement=where, input_size=(18, 27)) for i in samples]

    for row, expected in zip(camtool.store.open(make_store(tmp_path / "store", 5, rows=rows)), result.maps, strict=True):
        assert torch.equal(scaled_map(row), expected)


def below(read: StoredPicture) -> Picture:
    """Return the picture under a map."""
    assert isinstance(read.canvas, PictureCanvas)
    return read.canvas.below


def cropped(picture: Picture) -> Tensor:
    """Return the middle 32x32 of the picture at 40 rows."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (round(width * 40 / height), 40), interpolation=cv2.INTER_LINEAR)
    left = (small.shape[1] - 32) // 2
    return torch.from_numpy(small[4:36, left : left + 32]).permute(2, 0, 1)[None].float() / 255


def _one_row(tmp_path: Path, *, with_geometry: bool) -> tuple[camtool.store.Store, Picture]:
    """Return a store whose only map has its evidence in the upper left cell of a crop, and the picture."""
    picture = cv2.resize(RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8), (120, 80), interpolation=cv2.INTER_LINEAR)
    (tmp_path / "cat.png").write_bytes(encode(picture, ".png"))
    raw = torch.zeros(4, 4)
    raw[0, 0] = 1.0
    geometry = tuple(measure_geometry(picture, cropped).matrix.flatten().tolist()) if with_geometry else None
    row = Row(0, "cat.png", "gradcam", layer="x", map=raw, placement=(8.0, 8.0, 3.5, 3.5), input_size=(32, 32), geometry=geometry)
    return camtool.store.open(make_store(tmp_path / "store", 1, rows=lambda _: [row], root=str(tmp_path))), picture


@pytest.mark.parametrize("stored", [True, False])
def test_a_map_lies_where_the_network_saw_it(tmp_path: Path, stored: bool) -> None:
    store, picture = _one_row(tmp_path, with_geometry=stored)
    (row,) = store
    preprocess = None if stored else cropped
    samples = None if preprocess is None else NetworkInput(Reading(), preprocess)
    whole = StoredPictures(store, samples, original=True).read(row)
    assert np.array_equal(below(whole), picture)
    assert not whole.remark
    # The crop is rows 8 to 72 and columns 28 to 92 of the picture; its first cell is 16 pixels wide.
    inside = ~np.isnan(whole.saliency)
    assert (inside.any(axis=1).nonzero()[0][[0, -1]] == [8, 71]).all()
    assert (inside.any(axis=0).nonzero()[0][[0, -1]] == [28, 91]).all()
    assert whole.saliency[8:16, 28:36].min() > 0.9
    assert np.nanmax(whole.saliency[32:, 52:]) < 0.01
    assert np.array_equal(whole.overlay()[:, :20], picture[:, :20])  # where the network saw nothing the picture is as it is

    seen = StoredPictures(store, samples).read(row)
    assert below(seen).shape == (32, 32, 3)
    assert np.array_equal(seen.saliency, scaled_map(row).numpy())
    assert np.abs(below(seen).astype(int) - seen_picture(cropped(picture), cropped)).mean() < 2
    assert np.array_equal(seen.overlay("bone", 0.3), overlay(below(seen), seen.saliency, "bone", 0.3))


def test_without_a_geometry_the_whole_picture_is_taken_with_one_warning(tmp_path: Path) -> None:
    store, _ = _one_row(tmp_path, with_geometry=False)
    (row,) = store
    pictures = StoredPictures(store)
    with pytest.warns(CamtoolWarning, match="Give --config CONFIG"):
        read = pictures.read(row)
    assert not np.isnan(read.saliency).any()
    assert read.remark == "what was cropped is not known"
    pictures.read(row)  # warnings are errors here


def test_another_networks_preprocessing_is_refused(tmp_path: Path) -> None:
    store, _ = _one_row(tmp_path, with_geometry=False)
    (row,) = store
    with pytest.raises(DataError, match="sees 24x32 pixels, the maps are of 32x32"):
        StoredPictures(store, NetworkInput(Reading(), lambda picture: cropped(picture)[:, :, 4:-4])).read(row)


def test_a_picture_that_is_gone_or_changed_is_not_drawn(tmp_path: Path) -> None:
    store = camtool.store.open(make_picture_store(tmp_path / "store", tmp_path / "data", odd=[1]))
    pictures = StoredPictures(store, original=True)
    whole, gone, changed, *_ = store
    read = pictures.read(whole)
    assert np.array_equal(below(read), read_picture(tmp_path / "data" / whole["path"]))
    with pytest.raises(ImageError, match=r"No file '.*dog/00001\.png'"):
        pictures.read(gone)
    path = tmp_path / "data" / changed["path"]
    path.write_bytes(encode(np.zeros((60, 90, 3), dtype=np.uint8), ".png"))
    with pytest.raises(ImageError, match="is not what was explained"):
        pictures.read(changed)


@pytest.mark.parametrize(("root", "path"), [("/dev", "zero"), ("/", "dev/zero"), (None, "x"), ("/proc/self", "mem\0"), ("/", "")])
def test_what_is_no_file_is_not_read(tmp_path: Path, root: str | None, path: str) -> None:
    def rows(samples: Sequence[int]) -> list[Row]:
        return [dataclasses.replace(row, path=path) for row in random_rows(samples)]

    store = camtool.store.open(make_store(tmp_path / "store", 1, rows=rows, root=root))
    with pytest.raises(ImageError, match=r"No file|is no file"):
        StoredPictures(store).read(next(iter(store)))


def test_rows_without_a_map_or_with_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    """Of signals and volumes, whose kind the number of axes tells where nothing else does, samples are looked for as such."""

    def rows(samples: Sequence[int]) -> list[Row]:
        return [failed(0), *random_rows([1], size=(24,))]

    store = camtool.store.open(make_store(tmp_path / "store", 2, rows=rows, root=str(tmp_path)))
    missing, signal = (dataclasses.replace(row, values={**row.values, "digest": None}) for row in store)
    with pytest.raises(DataError, match="has no map: unreadable"):
        StoredPictures(store).read(missing)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "00001.png").write_bytes(encode(np.zeros((32, 48, 3), dtype=np.uint8), ".png"))
    with pytest.raises(DataError, match="has a map of 32; expected two axes"):
        StoredPictures(store, NetworkInput(Reading())).read(signal)
    with pytest.raises(ImageError, match="is of an unknown format"):
        StoredPictures(store).read(signal)


def test_maps_without_evidence_are_zero() -> None:
    values = {"placement": [8.0, 8.0, 3.5, 3.5], "path": "x"}
    assert scaled_map(MapRow({**values, "status": "no positive evidence"}, -torch.rand(4, 4))).amax() == 0
    assert scaled_map(MapRow({**values, "status": "flat"}, 1 + 1e-6 * torch.rand(4, 4))).amax() == 0
    assert scaled_map(MapRow({**values, "status": "ok"}, -torch.rand(4, 4))).amax() == 0


def test_a_config_that_a_store_names_is_not_run(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text(f"open({str(tmp_path / 'was_here')!r}, 'w').close()\nmodel = dict(type='x')\n")
    named = {"config": str(config), "fingerprint": {"config": str(config)}}
    store = camtool.store.open(make_picture_store(tmp_path / "store", tmp_path / "data", **named))
    row = next(iter(store))
    StoredPictures.of(store).read(dataclasses.replace(row))
    assert not (tmp_path / "was_here").exists()
