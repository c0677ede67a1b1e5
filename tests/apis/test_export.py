"""Exports of a store: each format as its reader reads it, nothing outside of the folder, whole or absent."""

import base64
import csv
import dataclasses
import io
import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

import camtool.store
from camtool.apis.export import FORMATS, ExportOptions, export
from camtool.apis.stored_pictures import StoredPictures
from camtool.errors import DataError, OutputError
from camtool.io.images import read_picture
from camtool.store.schema import Row
from tests.store.made import CLASSES, failed, make_picture_store, make_store, random_rows


@pytest.fixture
def store(tmp_path: Path) -> camtool.store.Store:
    """A store of six samples; the picture of the third is gone."""
    return camtool.store.open(make_picture_store(tmp_path / "store", tmp_path / "data", odd=[2]))


def index_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_overlays_are_the_pictures_under_their_maps(store: camtool.store.Store, tmp_path: Path) -> None:
    done = export(store, tmp_path / "out", "png", options=ExportOptions("bone", 0.3))
    assert done.rows == 5
    assert list(done.left_out) == ["fox/00002.png"]
    assert "No file" in done.left_out["fox/00002.png"]
    index = index_of(tmp_path / "out")
    assert [line["id"] for line in index] == ["0", "1", "3", "4", "5"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(["index.csv", *(line["file"] for line in index)])
    pictures = StoredPictures(store)
    for row, line in zip(store.where(id=[0, 1, 3, 4, 5]), index, strict=True):
        assert np.array_equal(read_picture(tmp_path / "out" / line["file"]), pictures.read(row).overlay("bone", 0.3))
    export(store, tmp_path / "whole", "png", original=True)
    assert read_picture(tmp_path / "whole" / index[0]["file"]).shape == (60, 90, 3)


def test_arrays_are_the_raw_maps(store: camtool.store.Store, tmp_path: Path) -> None:
    assert export(store, tmp_path / "out", "npy").rows == 6  # pictures are not needed
    for row, line in zip(store, index_of(tmp_path / "out"), strict=True):
        values = np.load(tmp_path / "out" / line["file"], allow_pickle=False)
        assert values.dtype == np.float32
        assert row.map is not None
        assert np.array_equal(values, row.map.numpy())
        assert (line["path"], line["label"], line["layer"]) == (row["path"], str(row["label"]), "features.7")


@pytest.mark.parametrize("size", [(5,), (4, 6), (2, 3, 4)])
def test_a_nifti_volume_has_its_map_and_where_it_lies(tmp_path: Path, size: tuple[int, ...]) -> None:
    scale, offset = (8.0, 4.0, 2.0)[: len(size)], (3.5, 0.0, -1.0)[: len(size)]

    def rows(samples: Sequence[int]) -> list[Row]:
        flat = random_rows(samples, size=(24,))
        shaped = [random_rows([row.id], size=(4, 6))[0].map for row in flat]
        return [
            dataclasses.replace(row, map=values.flatten()[: int(np.prod(size))].view(size), placement=(*scale, *offset), input_size=None)  # type: ignore[union-attr]
            for row, values in zip(flat, shaped, strict=True)
        ]

    store = camtool.store.open(make_store(tmp_path / "store", 2, rows=rows))
    export(store, tmp_path / "out", "nifti")
    for row, line in zip(store, index_of(tmp_path / "out"), strict=True):
        image = nibabel.load(tmp_path / "out" / line["file"])
        assert row.map is not None
        assert image.get_data_dtype() == np.float32
        assert np.array_equal(np.asarray(image.dataobj), row.map.numpy().reshape(*size, *[1] * (3 - len(size))))
        for axis in range(3):
            corner = np.eye(4)[axis] + [0, 0, 0, 1]
            expected = np.array([0.0, 0.0, 0.0])
            expected[: len(size)] = offset
            expected[axis] += scale[axis] if axis < len(size) else 1.0
            assert np.allclose((image.affine @ corner)[:3], expected)


def test_virelay_finds_attribution_label_and_prediction_of_a_sample(store: camtool.store.Store, tmp_path: Path) -> None:
    """By the steps of its reader: whether there is an index, at which place it is, the row there, and the label's name."""
    done = export(store, tmp_path / "out", "hdf5")
    assert (done.rows, done.left_out) == (6, {})
    labels = json.loads((tmp_path / "out" / "label_map.json").read_text())
    assert [(label["index"], label["word_net_id"], label["name"]) for label in labels] == [
        (k, name, name) for k, name in enumerate(CLASSES)
    ]
    with h5py.File(tmp_path / "out" / "attribution_gradcam_features.7.h5") as file:
        assert file["attribution"].shape == (6, 3, 32, 48)
        assert file["attribution"].dtype == np.float32
        assert file["label"].dtype != bool  # which it takes for several labels a sample
        for row in store:
            assert row["id"] in file["index"]
            (place,) = np.where(row["id"] == file["index"][:])[0]
            channels = file["attribution"][place]
            assert np.argmin(channels.shape) == 0, "the axis that it takes for that of channels"
            assert np.array_equal(np.moveaxis(channels, 0, 2).sum(axis=2), row.resized().numpy()), "a single one it cannot draw"
            assert np.array_equal(channels[0], row.resized().numpy())
            assert file["label"][place] == row["label"]
            assert file["prediction"][place].argmax() == row["predicted"]
            assert file["prediction"][place].max() == np.float32(row["probability"])
        assert 6 not in file["index"]


def test_virelay_finds_each_class_by_an_id_of_its_own(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "store", 4, class_names=["crane", "fox", "crane"])
    export(camtool.store.open(folder), tmp_path / "out", "hdf5")
    labels = json.loads((tmp_path / "out" / "label_map.json").read_text())
    assert [(label["word_net_id"], label["name"]) for label in labels] == [("crane", "crane"), ("fox", "fox"), ("2", "crane")]


def test_virelay_gets_a_file_for_each_method_and_no_sample_without_a_label(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "store", 8, rows=lambda samples: random_rows(samples, methods=("gradcam", "smooth:gradcam")))
    done = export(camtool.store.open(folder), tmp_path / "out", "hdf5")
    assert done.rows == 14
    assert done.left_out == {"cat/00006.png": "its label is not known, and ViRelAy needs one"}
    names = sorted(path.name for path in (tmp_path / "out").glob("*.h5"))
    assert names == ["attribution_gradcam_features.7.h5", "attribution_smooth-gradcam_features.7.h5"]


def test_virelay_reads_one_row_a_sample(tmp_path: Path) -> None:
    """That of the predicted class: its prediction would be another one's else."""

    def rows(samples: Sequence[int]) -> list[Row]:
        return [
            dataclasses.replace(row, target=target, map=None if row.map is None else row.map + target)
            for row in random_rows(samples)
            for target in (0, 1)
        ]

    store = camtool.store.open(make_store(tmp_path / "store", 4, rows=rows))  # predicted: 0, 1, 2, 0
    done = export(store, tmp_path / "out", "hdf5")
    assert done.rows == 3
    assert list(done.left_out) == [row["path"] for row in store.where(target=0)]
    assert "several rows" in done.left_out["fox/00002.png"]
    with h5py.File(tmp_path / "out" / "attribution_gradcam_features.7.h5") as file:
        assert file["index"][:].tolist() == [0, 1, 3]
        assert file["prediction"][:].argmax(axis=1).tolist() == [0, 1, 0]
        for place, (number, target) in enumerate(((0, 0), (1, 1), (3, 0))):
            (row,) = store.where(id=number, target=target)
            assert np.array_equal(file["attribution"][place, 0], row.resized().numpy())


def test_fiftyone_gets_samples_with_heat_maps(store: camtool.store.Store, tmp_path: Path) -> None:
    done = export(store, tmp_path / "out", "fiftyone")
    assert done.rows == 5
    assert "version" not in json.loads((tmp_path / "out" / "metadata.json").read_text())
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    rows = list(store.where(id=[0, 1, 3, 4, 5]))
    assert [sample["filepath"] for sample in samples] == [str(tmp_path / "data" / row["path"]) for row in rows]
    for sample, row in zip(samples, rows, strict=True):
        assert sample["ground_truth"]["label"] == CLASSES[row["label"]]
        assert sample["prediction"]["label"] == CLASSES[row["predicted"]]
        assert sample["prediction"]["confidence"] == row["probability"]
        heat = sample["map_gradcam"]
        assert heat["_cls"] == "Heatmap"
        levels = np.load(io.BytesIO(zlib.decompress(base64.b64decode(heat["map"]["$binary"]["base64"]))), allow_pickle=False)
        assert levels.dtype == np.uint8
        expected = StoredPictures(store, original=True).read(row).saliency
        assert np.abs(levels / 255 - np.nan_to_num(expected)).max() < 0.003


def test_fiftyone_gets_the_probability_of_the_predicted_class_among_several_targets(tmp_path: Path) -> None:
    plain = camtool.store.open(make_picture_store(tmp_path / "plain", tmp_path / "data", 4))

    def rows(samples: Sequence[int]) -> list[Row]:
        kept = ("id", "path", "digest", "layer", "label", "predicted", "method")
        return [
            Row(**{name: row[name] for name in kept}, target=target, probability=0.1 + target / 4, map=row.map, **_places(row))
            for row in plain
            for target in range(3)
        ]

    export(camtool.store.open(make_store(tmp_path / "store", 4, rows=rows, root=str(tmp_path / "data"))), tmp_path / "out", "fiftyone")
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert [sample["prediction"]["confidence"] for sample in samples] == [0.1 + row["predicted"] / 4 for row in plain]
    assert all({"map_gradcam"} < sample.keys() for sample in samples)


def test_fiftyone_gets_one_sample_with_the_maps_of_all_methods(tmp_path: Path) -> None:
    """Names of methods become names of fields, and two of them never the same."""
    methods = ["gradcam", "gradcam++", "smooth:gradcam", "smooth gradcam", "id"]
    plain = make_picture_store(tmp_path / "plain", tmp_path / "data", 3)

    def rows(samples: Sequence[int]) -> list[Row]:
        return [
            Row(**{**{name: row[name] for name in ("id", "path", "digest", "layer")}, "map": row.map, "method": method, **_places(row)})  # type: ignore[arg-type]
            for row in camtool.store.open(plain)
            for method in methods
        ]

    export(camtool.store.open(make_store(tmp_path / "store", 3, rows=rows, root=str(tmp_path / "data"))), tmp_path / "out", "fiftyone")
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert len(samples) == 3
    for sample in samples:
        fields = [name for name, value in sample.items() if isinstance(value, dict)]
        assert len(fields) == len(methods)
        assert all(name.isidentifier() for name in fields)


def _places(row: Any) -> dict[str, Any]:
    return {name: tuple(row[name]) for name in ("placement", "geometry", "input_size")}


PATHS = [
    "../../outside.png",
    "/etc/passwd",
    "..",
    "a/..",
    "../",
    "a\\..\\b.png",
    "C:\\x.png",
    "new\nline.png",
    "nul\x00.png",
    "~root/x.png",
    "é" * 300 + ".png",
    "x" * 300,
    "$(touch x).png",
    "con.png",
    "\u202egnp.png",
    "index.csv",
    "same.png",
    "other/same.jpg",
    "",
    "-rf.png",
]


@pytest.mark.parametrize("kind", ["npy", "nifti", "hdf5"])
def test_nothing_is_written_outside_of_the_folder(tmp_path: Path, kind: str) -> None:
    methods = ["../gradcam", "a/b", "a-b", "x" * 300]

    def rows(samples: Sequence[int]) -> list[Row]:
        found = random_rows(samples, methods=methods)
        return [dataclasses.replace(row, path=PATHS[row.id], label=0, layer="../../../" + row.layer) for row in found if row.layer]

    folder = tmp_path / "a" / "b" / "c"
    store = camtool.store.open(make_store(tmp_path / "store", len(PATHS), 32, rows=rows))
    before = sorted(tmp_path.rglob("*"))
    done = export(store, folder, kind)
    assert done.rows == len(PATHS) * len(methods)
    files = [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()]
    assert all(path.parent == folder for path in files)
    if kind != "hdf5":
        index = index_of(folder)
        assert {line["path"] for line in index} == {row["path"] for row in store}
        assert len({line["file"].casefold() for line in index}) == len(index) == len(files) - 1
    assert all(len(path.name.encode()) <= 255 and path.name.isprintable() and not path.name.startswith("-") for path in files)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_with_files_is_refused_and_stays_as_it_is(store: camtool.store.Store, tmp_path: Path, kind: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="has files in it"):
        export(store, tmp_path / "out", kind)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_is_whole_or_absent(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a later shard is damaged, and where no row can be exported; an empty folder stays."""
    folder = make_picture_store(tmp_path / "store", tmp_path / "data", 12)
    (tmp_path / "empty").mkdir()
    (folder / "maps-000001.parquet").write_bytes(b"PAR1")
    for out in ("out", "empty"):
        with pytest.raises(DataError, match="is damaged"):
            export(camtool.store.open(folder), tmp_path / out, kind)
    missing = make_store(tmp_path / "missing", 1, rows=lambda _: [failed(0)], root=str(tmp_path))
    with pytest.raises(DataError, match=f"Nothing can be exported as {kind}; cat/00000.png"):
        export(camtool.store.open(missing), tmp_path / "out", kind)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "empty", "missing", "store"]
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_empty_folder_is_filled(store: camtool.store.Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert export(store, tmp_path / "out", "npy", limit=2).rows == 2
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_store_is_never_written_to(store: camtool.store.Store, tmp_path: Path) -> None:
    for out in (store.folder / "out", tmp_path / "data" / ".." / "store" / "deep" / "out"):
        with pytest.raises(OutputError, match="inside of the store"):
            export(store, out, "npy")
    with pytest.raises(OutputError, match="has files in it"):
        export(store, store.folder, "npy")


def test_a_file_or_a_link_is_no_folder(store: camtool.store.Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for name in ("file", "link"):
        with pytest.raises(OutputError, match="is no folder"):
            export(store, tmp_path / name, "npy")


@pytest.mark.parametrize(("kind", "library", "extra"), [("nifti", "nibabel", "medical"), ("hdf5", "h5py", "hdf5")])
def test_a_missing_library_is_named_with_its_extra(
    store: camtool.store.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(OutputError, match=rf"pip install 'camtool\[{extra}\]'"):
        export(store, tmp_path / "out", kind)
    assert not (tmp_path / "out").exists()


def test_a_format_that_does_not_exist_is_refused_with_the_nearest(store: camtool.store.Store, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="closest: 'nifti'"):
        export(store, tmp_path / "out", "nifty")
