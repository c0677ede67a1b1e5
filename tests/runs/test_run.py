"""Runs over data sets: rows, resuming, refusals, and what cannot be explained."""

import csv
import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import camtool.store
from camtool import CAM
from camtool.errors import CamtoolError, CamtoolWarning, DataError, OutputError, TargetError
from camtool.placement import placed
from camtool.runs import run
from camtool.runs.shards import RunProgress
from camtool.store.layout import shard_numbers, shard_path
from tests.runs import tiny
from tests.runs.killed import trial

LAYER = "body[3]"


def rows_of(out: Path, **conditions: Any) -> list[camtool.store.MapRow]:
    return list(camtool.store.open(out).where(**conditions))


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_a_row_is_the_cam_of_its_picture(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 7)
    report = run(tiny.explainer(tmp_path, target_layers=["body[1]", LAYER]), data, tmp_path / "out", batch_size=3)
    assert (report.samples, report.made, report.missing, report.failed) == (7, 7, 0, 0)
    model, rows = tiny.Tiny().eval(), rows_of(tmp_path / "out")
    files = sorted(data.rglob("*.png"), key=lambda path: str(path.relative_to(data)))
    order = [(number, method, layer) for number in range(7) for method in ("gradcam", "layercam") for layer in ("body[1]", LAYER)]
    assert [(row["id"], row["method"], row["layer"]) for row in rows] == order
    for row in rows:
        picture = torch.from_numpy(np.array(Image.open(files[row["id"]]))).permute(2, 0, 1)[None] / 255
        result = CAM(model, row["layer"], row["method"])((picture - 0.5) / 0.25)
        assert row["path"] == str(files[row["id"]].relative_to(data))
        assert row["label"] == ["first", "second", "third"].index(files[row["id"]].parent.name)
        assert row["predicted"] == row["target"] == result.predicted[0]
        torch.testing.assert_close(row.map, result.raw[row["layer"]][0], rtol=1e-4, atol=1e-6)
        assert row["sum"] == pytest.approx(float(row.map.double().sum()), rel=1e-6, abs=1e-9)
        assert row["logit"] == pytest.approx(float(result.logits[0].max()), rel=1e-5)
        assert row["probability"] == pytest.approx(float(result.logits[0].softmax(0).max()), rel=1e-5)
        expected = placed(result.raw[row["layer"]], (tiny.SIZE, tiny.SIZE), result.placement[row["layer"]])[0]
        torch.testing.assert_close(row.resized(), expected, rtol=1e-4, atol=1e-6)


def test_importances_are_the_sums_of_the_channels_contributions(tmp_path: Path) -> None:
    run(tiny.explainer(tmp_path, target_layers=LAYER), tiny.pictures(tmp_path / "data", 4), tmp_path / "out", importances=True)
    model = tiny.Tiny().eval()
    for row in rows_of(tmp_path / "out", method="gradcam"):
        picture = torch.from_numpy(np.array(Image.open(tmp_path / "data" / row["path"]))).permute(2, 0, 1)[None] / 255
        activations = model.body((picture - 0.5) / 0.25)[0]
        weights = model.head.weight[row["target"]] / activations[0].numel()  # of global average pooling
        expected = (weights[:, None, None] * activations).sum(dim=(1, 2))
        torch.testing.assert_close(torch.tensor(row["importances"]), expected, rtol=1e-4, atol=1e-6)
        assert sum(row["importances"]) == pytest.approx(row["sum"], rel=1e-4)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_run_that_was_interrupted_ends_with_the_same_bytes(tmp_path: Path, workers: int) -> None:
    data = tiny.pictures(tmp_path / "data", 150)
    run(tiny.explainer(tmp_path), data, tmp_path / "whole")

    def stop(progress: RunProgress) -> None:
        if progress.made >= 90:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny.explainer(tmp_path), data, tmp_path / "out", workers=workers, progress=stop)
    assert shard_numbers(tmp_path / "out") == [0]
    report = run(tiny.explainer(tmp_path), data, tmp_path / "out", workers=workers)
    assert report.made == 150 - 64
    assert {name: value for name, value in content(tmp_path / "out").items() if name.endswith(".parquet")} == {
        name: value for name, value in content(tmp_path / "whole").items() if name.endswith(".parquet")
    }


def test_a_complete_store_is_left_as_it_is(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 5)
    run(tiny.explainer(tmp_path), data, tmp_path / "out")
    before = content(tmp_path / "out")
    assert run(tiny.explainer(tmp_path), data, tmp_path / "out").made == 0
    assert content(tmp_path / "out") == before


CHANGES: dict[str, Any] = {
    "methods.layercam": lambda folder, data: (tiny.explainer(folder, method="gradcam"), data, {}),
    "methods.xgradcam": lambda folder, data: (tiny.explainer(folder, method=["xgradcam", "layercam"]), data, {}),
    "batch_size": lambda folder, data: (tiny.explainer(folder), data, {"batch_size": 4}),
    "target.categories": lambda folder, data: (tiny.explainer(folder), data, {"categories": "label"}),
    "target.target": lambda folder, data: (tiny.explainer(folder), data, {"target": "probability"}),
    "half": lambda folder, data: (tiny.explainer(folder), data, {"half": True}),
    "threads": lambda folder, data: (tiny.explainer(folder), data, {"threads": torch.get_num_threads() + 1}),
    "config.model.preprocess.mean": lambda folder, data: (
        tiny.explainer(folder, cfg_options={"model.preprocess.mean": 0.25}),
        data,
        {},
    ),
    "options.eigen_smooth": lambda folder, data: (tiny.explainer(folder, eigen_smooth=True), data, {}),
    "layers": lambda folder, data: (tiny.explainer(folder, target_layers="body[1]"), data, {}),
    "checkpoint": lambda folder, data: (_retrained(folder), data, {}),
    "data.samples": lambda folder, data: (tiny.explainer(folder), _with(data, "third/new.png"), {}),
    "data.paths, sizes and labels": lambda folder, data: (tiny.explainer(folder), _renamed(data), {}),
}


def _retrained(folder: Path) -> Any:
    explainer = tiny.explainer(folder)
    explainer.network.model.head.bias.data[0] += 1e-3
    return explainer


def _with(data: Path, name: str) -> Path:
    Image.new("RGB", (tiny.SIZE, tiny.SIZE)).save(data / name)
    return data


def _renamed(data: Path) -> Path:
    path = next(data.rglob("*.png"))
    path.rename(path.with_name("other.png"))
    return data


@pytest.mark.parametrize("what", CHANGES)
def test_another_run_is_refused_with_what_changed(tmp_path: Path, what: str) -> None:
    data = tiny.pictures(tmp_path / "data", 5)
    run(tiny.explainer(tmp_path), data, tmp_path / "out")
    before = content(tmp_path / "out")
    explainer, data, options = CHANGES[what](tmp_path / "changed", data)
    with pytest.raises(DataError, match="store of another run; changed: ") as error:
        run(explainer, data, tmp_path / "out", **options)
    assert what in str(error.value), error.value
    assert content(tmp_path / "out") == before


class Spoilt(tiny.Tiny):
    """Scores of NaN for a picture whose first pixel is red, and without any gradient where it is green."""

    def forward(self, pictures: Tensor) -> Tensor:
        scores = super().forward(pictures)
        first = (pictures[:, :, 0, 0] > 1.99).float() - (pictures[:, :, 0, 0] < -1.99).float()  # 1 for 255, -1 for 0
        red, green = ((first == torch.tensor(color)).all(dim=1, keepdim=True) for color in ([1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]))
        if pictures.shape[-1] < 12:
            raise ValueError("too narrow")
        scores = scores.masked_fill(red, torch.nan)
        return torch.where(green, scores.detach() + 0 * scores.sum(dim=1, keepdim=True), scores)


def spoilt(folder: Path) -> Path:
    """Return pictures of which some cannot be read or explained."""
    data = tiny.pictures(folder / "data", 9)
    names = sorted(str(path.relative_to(data)) for path in data.rglob("*.png"))
    (data / names[1]).write_bytes((data / names[1]).read_bytes()[:200])
    (data / names[2]).write_bytes(b"")
    Image.new("RGB", (tiny.SIZE, 1)).save(data / names[3])
    Image.new("RGB", (8, 8)).save(data / names[0])
    for name, color in ((names[4], (255, 0, 0)), (names[5], (0, 255, 0))):
        picture = Image.open(data / name)
        picture.putpixel((0, 0), color)
        picture.save(data / name)
    os.unlink(data / names[6])
    os.symlink(folder / "nowhere.png", data / names[6])
    return data


SPOILT = {0: "not explained", 1: "unreadable", 2: "unreadable", 3: "unreadable", 4: "NaN", 5: "zero gradient", 6: "unreadable"}


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_explained_is_a_row_and_spoils_no_other(tmp_path: Path, workers: int) -> None:
    tmp_path.joinpath("net.py").write_text(tiny.CONFIG.replace(f"{tiny.__file__}:Tiny", f"{__file__}:Spoilt"))
    from camtool.apis import Explainer

    data = spoilt(tmp_path)
    explainer = Explainer(tmp_path / "net.py", method=["gradcam", "layercam"])
    report = run(explainer, data, tmp_path / "out", workers=workers, batch_size=9)
    failed = {row["id"]: row["status"] for row in rows_of(tmp_path / "out") if row.map is None}
    assert failed == SPOILT
    assert report.failures == {status: list(failed.values()).count(status) for status in sorted(set(failed.values()))}
    for row in rows_of(tmp_path / "out", status="unreadable"):
        assert (row["target"], row["predicted"], row["layer"], row["probability"]) == (None,) * 4
        assert row["reason"]
        assert row["label"] is not None
    assert len(rows_of(tmp_path / "out")) == 2 * 9


def test_without_positive_evidence_a_map_is_no_failure(tmp_path: Path) -> None:
    explainer = tiny.explainer(tmp_path, method="gradcam")
    explainer.network.model.head.weight.data.abs_().neg_()
    report = run(explainer, tiny.pictures(tmp_path / "data", 3), tmp_path / "out", max_failures=0)
    assert report.failed == 0
    assert report.remarks == {"no positive evidence": 3}
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["no positive evidence"] * 3
    assert all(row.map.amax() <= 0 for row in rows_of(tmp_path / "out"))


def test_too_many_failures_stop_the_run_and_more_of_them_go_on(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 150)
    for path in sorted(data.rglob("*.png"))[70:73]:
        path.write_bytes(b"none")
    with pytest.raises(CamtoolError, match="3 samples could not be explained, more than --max-failures 2"):
        run(tiny.explainer(tmp_path), data, tmp_path / "out", max_failures=2)
    assert shard_numbers(tmp_path / "out") == [0]
    assert run(tiny.explainer(tmp_path), data, tmp_path / "out", max_failures=3).made == 150 - 64
    with pytest.raises(CamtoolError, match="more than --max-failures 1"):
        run(tiny.explainer(tmp_path), data, tmp_path / "out", max_failures=1)


@pytest.mark.parametrize("verify", [False, True])
def test_a_damaged_shard_is_named_and_made_again(tmp_path: Path, verify: bool) -> None:
    data = tiny.pictures(tmp_path / "data", 70)
    run(tiny.explainer(tmp_path), data, tmp_path / "out")
    before = content(tmp_path / "out")
    path = shard_path(tmp_path / "out", 1)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=path.name):
        rows_of(tmp_path / "out")
    with pytest.warns(CamtoolWarning, match=path.name):
        report = run(tiny.explainer(tmp_path), data, tmp_path / "out", verify=verify)
    assert report.repaired == (path.name,)
    assert content(tmp_path / "out") == before


def test_the_predicted_the_true_and_every_class_can_be_asked(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 6)
    targets = {}
    for name, asked in {"label": ["label"], "all": ["all"], "both": ["predicted", "label"], "named": ["name:third", "0"]}.items():
        run(tiny.explainer(tmp_path, method="gradcam"), data, tmp_path / name, categories=asked)
        rows = rows_of(tmp_path / name)
        targets[name] = {number: [row["target"] for row in rows if row["id"] == number] for number in range(6)}
        facts = {row["id"]: (row["label"], row["predicted"]) for row in rows}
    assert targets["label"] == {number: [label] for number, (label, _) in facts.items()}
    assert set(map(tuple, targets["all"].values())) == {(0, 1, 2)}
    assert set(map(tuple, targets["named"].values())) == {(2, 0)}
    assert targets["both"] == {number: list(dict.fromkeys((predicted, label))) for number, (label, predicted) in facts.items()}
    assert len({len(found) for found in targets["both"].values()}) == 2


class Pairs(Dataset[Any]):
    """Inputs and labels; every sample draws noise, as an augmentation does."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        if index == 4:
            raise ValueError("no such file")
        return torch.full((3, 16, 16), index / 6) + torch.rand(3, 16, 16), index % 3


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, batch_size=2)], ids=["data set", "loader"])
def test_a_data_set_of_torch_is_explained_with_its_labels(tmp_path: Path, wrap: Any) -> None:
    report = run(tiny.explainer(tmp_path, method="gradcam"), wrap(Pairs()), tmp_path / "out", categories="label")
    rows = rows_of(tmp_path / "out")
    assert report.failures == {"unreadable": 1}
    assert [row["label"] for row in rows] == [0, 1, 2, 0, None, 2]
    assert [row["target"] for row in rows] == [0, 1, 2, 0, None, 2]
    assert "no such file" in rows[4]["reason"]
    torch.manual_seed(99)
    run(tiny.explainer(tmp_path, method="gradcam"), wrap(Pairs()), tmp_path / "again", categories="label", workers=1)
    assert shard_path(tmp_path / "out", 0).read_bytes() == shard_path(tmp_path / "again", 0).read_bytes()


def test_lists_have_paths_and_labels(tmp_path: Path) -> None:
    tiny.pictures(tmp_path / "data", 4)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([["label", "path"], ["third", names[2]], ["0", names[0]], ["", names[1]]])
    (tmp_path / "list.txt").write_text(f"{names[2]} 2\n\n{names[0]}\n")
    run(tiny.explainer(tmp_path, method="gradcam"), tmp_path / "list.csv", tmp_path / "a")
    run(tiny.explainer(tmp_path, method="gradcam"), tmp_path / "list.txt", tmp_path / "b")
    assert [(row["path"], row["label"]) for row in rows_of(tmp_path / "a")] == [(names[2], 2), (names[0], 0), (names[1], None)]
    assert [(row["path"], row["label"]) for row in rows_of(tmp_path / "b")] == [(names[2], 2), (names[0], None)]


def test_a_data_set_of_a_config_goes_through_its_pipeline(tmp_path: Path) -> None:
    text = tiny.config(tmp_path).read_text().replace("with_weights", "kwargs=dict(classes=6), with_weights")
    text = text.replace('classes=["first", "second", "third"]', "")
    text += '\nval_dataloader = dict(dataset=dict(type="camtool.Shapes", split="val", count=12))\n'
    (tmp_path / "with_data.py").write_text(text)
    from camtool.apis import Explainer

    run(Explainer(tmp_path / "with_data.py"), "config:val", tmp_path / "out", limit=5)
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == [f"val {number}" for number in range(5)]
    assert rows[0].map.shape == (32, 32)


BAD: dict[str, Any] = {
    "no such data": (lambda folder: folder / "nowhere", DataError, "No data set"),
    "an empty folder": (lambda folder: _made(folder / "empty"), DataError, "No sample in the folder"),
    "no list": (lambda folder: _text(folder / "x.json", "{}"), DataError, "is no data set"),
    "an empty list": (lambda folder: _text(folder / "x.txt", "\n"), DataError, "names no pictures"),
    "a list of nothing that exists": (lambda folder: _text(folder / "x.txt", "a.png\nb.png\n"), DataError, "None of the files"),
    "a table without paths": (lambda folder: _text(folder / "x.csv", "file,label\na.png,1\n"), DataError, "no column 'path'"),
    "a label out of range": (
        lambda folder: _text(folder / "x.csv", "path,label\ndata/first/00000.png,3\n"),
        DataError,
        "Label 3 is out of",
    ),
    "a label that is no class": (lambda folder: _text(folder / "x.csv", "path,label\ndata/first/00000.png,dog\n"), DataError, "No class"),
    "no such split": (lambda _: "config:test", DataError, "config:val or config:train"),
    "a config without data": (lambda _: "config:val", DataError, "has no data set"),
    "no data set": (lambda _: 7, DataError, "map-style"),
}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("what", BAD)
def test_bad_data_is_one_error_and_no_store(tmp_path: Path, what: str) -> None:
    tiny.pictures(tmp_path / "data", 3)
    data, kind, message = BAD[what]
    with pytest.raises(kind, match=message):
        run(tiny.explainer(tmp_path), data(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_that_does_not_exist_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 3)
    with pytest.raises(TargetError, match="out of range"):
        run(tiny.explainer(tmp_path), data, tmp_path / "out", categories=[5])
    with pytest.raises(DataError, match="no labels"):
        run(tiny.explainer(tmp_path), data / "first", tmp_path / "out", categories="label")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_no_place_for_a_store(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 3)
    with pytest.raises(OutputError, match="is no store, but has files"):
        run(tiny.explainer(tmp_path), data, data)
    with pytest.raises(OutputError, match="is a file"):
        run(tiny.explainer(tmp_path), data, tiny.config(tmp_path))


def test_run_json_has_no_times_and_no_place_of_the_checkpoint(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 3)
    run(tiny.explainer(tmp_path), data, tmp_path / "out", command=["camtool", "run"])
    described = json.loads((tmp_path / "out" / "run.json").read_text())
    assert described["command"] == ["camtool", "run"]
    assert described["class_names"] == ["first", "second", "third"]
    assert {"config", "checkpoint", "methods", "batch_size", "threads", "device", "precision", "versions", "data"} <= set(
        described["fingerprint"]
    )
    assert "time" not in json.dumps(described["fingerprint"])


def test_memory_is_flat(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 2000)
    resident: list[int] = []

    def note(progress: RunProgress) -> None:
        with open("/proc/self/statm") as file:
            resident.append(int(file.read().split()[1]) * resource.getpagesize())

    run(tiny.explainer(tmp_path, method="gradcam"), data, tmp_path / "out", progress=note)
    tenth = len(resident) // 10
    assert np.mean(resident[-tenth:]) < 1.02 * np.mean(resident[tenth : 2 * tenth])


@pytest.mark.slow
def test_twenty_kills_leave_the_same_bytes(tmp_path: Path) -> None:
    counts = trial(tmp_path, kills=20, seed=11)
    assert counts["process"] + counts["worker"] >= 10
    assert counts["stores"] >= 3
