"""`camtool eval` and `camtool check` by metrics of a data set as a whole: MaxBoxAcc and PxAP as the library says of the same maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from camtool.apis.stored_pictures import scaled_map
from camtool.metrics import max_box_accuracy, pxap
from camtool.store import open as open_store
from tests.cli import evaluated
from tests.cli.evaluated import SIZE, WITH_MASKS, coco, rows_of, store_class_names, write
from tests.cli.fixtures import Run, pixels

store = evaluated.store
Box = list[list[int]]


def boxes_of(store: Path, data: Path) -> dict[str, Box]:
    """Return by picture a box around the disc, ((top, bottom), (left, right)); of every third a wider one, for a lower threshold."""
    found = {}
    for row in open_store(store).where(method="gradcam"):
        where = np.argwhere(pixels(data / row["path"])[..., row["target"]] > 100)
        wider = 4 if row["id"] % 3 == 0 else 0
        found[row["path"]] = np.stack([where.min(axis=0) - wider, where.max(axis=0) + 1 + wider], axis=1).clip(0, SIZE).tolist()
    return found


def annotate(path: Path, store: Path, boxes: dict[str, Box]) -> tuple[Any, ...]:
    """Write boxes of the explained classes as COCO, beside one of another class; return the options that name them."""
    names = store_class_names(store)
    rows = {row["path"]: row["target"] for row in open_store(store).where(method="gradcam")}
    objects = {}
    for name, ((top, bottom), (left, right)) in boxes.items():
        own = [float(left), float(top), float(right - left), float(bottom - top)]
        objects[name] = [(names[rows[name]], own), (names[1 - rows[name]], [0.0, 0.0, 3.0, 3.0])]
    coco(path, objects)
    return ("--config", "c.py", "--annotations", path.name, "--annotations-kind", "coco")


@pytest.mark.parametrize("version", [1, 2])
def test_boxes_are_found_as_often_as_the_library_says(run: Run, store: Path, tmp_path: Path, version: int) -> None:
    boxes = boxes_of(store, tmp_path / "data")
    given = annotate(tmp_path / "boxes.json", store, boxes)

    report = run("eval", store, "--metrics", "wsol", *given, "--set", f"wsol.version={version}", "--json").report

    means = {entry["method"]: entry for entry in report["summary"]}
    assert set(means) == {"gradcam", "layercam", "random", "center", "edges"}
    rows = {name: list(open_store(store).where(method=name)) for name in ("gradcam", "layercam")}
    by_class = rows_of(tmp_path / "store-eval/by_class.csv")
    for name, of_method in rows.items():
        for target in (None, 0, 1):
            chosen = [row for row in of_method if target in (None, row["target"])]
            maps = np.stack([scaled_map(row).numpy() for row in chosen])
            expected = max_box_accuracy(maps, [np.array([boxes[row["path"]]]) for row in chosen], version=version).accuracy
            found = means[name] if target is None else next(r for r in by_class if (r["method"], r["class"]) == (name, str(target)))
            assert float(found["mean"]) == pytest.approx(expected, abs=1e-9)
            assert int(found["maps"]) == len(chosen)
    for entry in means.values():
        assert entry["low"] <= entry["mean"] <= entry["high"]
    assert means["gradcam"]["mean"] > means["random"]["mean"]
    compared = {(entry["first"].split()[0], entry["second"].split(",")[0]): entry for entry in report["comparisons"]}
    assert len(compared) == 10
    assert compared["gradcam", "random"]["p_holm"] < 0.05
    assert compared["gradcam", "random"]["difference"] == pytest.approx(means["gradcam"]["mean"] - means["random"]["mean"])
    assert np.ptp(pixels(tmp_path / "store-eval/figs/wsol.png")) > 0


def test_positions_of_all_pictures_are_counted_together_whatever_the_shards(
    run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = [row for row in open_store(store).where(method="gradcam") if row["path"] != "g/11.png"]
    maps = np.stack([scaled_map(row).numpy() for row in masked])
    masks = np.stack([pixels(tmp_path / "masks" / row["path"])[..., 0] > 0 for row in masked])
    monkeypatch.setattr("camtool.runs.prepare.shard_size", lambda *_: 5)
    assert run("run", "c.py", "--data", "data", "--out", "parts", "--method", "gradcam").exit_code == 0

    whole = run("eval", store, "--metrics", "pxap", "wsol", *WITH_MASKS, "--method", "gradcam", "--json").report
    parts = run("eval", "parts", "--metrics", "pxap", "wsol", *WITH_MASKS, "--json").report

    assert len(list((tmp_path / "parts-eval/pxap").glob("scores-*.parquet"))) == 3
    assert parts["summary"] == whole["summary"]
    means = {(entry["metric"], entry["method"]): entry for entry in whole["summary"]}
    expected = pxap(maps, masks)
    assert means["pxap", "gradcam"]["mean"] == pytest.approx(expected.area, rel=1e-9)
    assert (means["pxap", "gradcam"]["maps"], means["pxap", "gradcam"]["without_score"]) == (11, 1)
    rows = [row for row in pq.read_table(tmp_path / "store-eval/pxap/scores-000000.parquet").to_pylist() if row["method"] == "gradcam"]
    assert [row["counts"] for row in rows if row["path"] == "g/11.png"] == [None]
    assert np.sum([row["counts"] for row in rows if row["counts"]], axis=0).tolist() == [*expected.inside, *expected.outside]
    alone = {row["path"]: row["score"] for row in rows}
    assert alone[masked[3]["path"]] == pytest.approx(pxap(maps[3:4], masks[3:4]).area)


def test_a_box_is_cut_where_the_network_saw_nothing(run: Run, store: Path, tmp_path: Path) -> None:
    (tmp_path / "cropped.py").write_text((tmp_path / "c.py").read_text().replace("{'resize': 32}", "{'resize': 32, 'crop': 16}"))
    assert run("run", "cropped.py", "--data", "data", "--out", "cropped", "--method", "gradcam").exit_code == 0
    boxes = {path: [[4, 20], [8, 32]] for path in boxes_of(store, tmp_path / "data")}  # of the crop, 8 to 24: 0 to 12, 0 to 16
    gone = next(iter(boxes))
    boxes[gone] = [[0, 4], [0, 4]]
    given = annotate(tmp_path / "boxes.json", tmp_path / "cropped", boxes)

    finished = run("eval", "cropped", "--metrics", "wsol", "--config", "cropped.py", *given[2:], "--json")

    rows = [row for row in open_store(tmp_path / "cropped") if row["path"] != gone]
    maps = np.stack([scaled_map(row).numpy() for row in rows])
    (entry,) = [entry for entry in finished.report["summary"] if entry["method"] == "gradcam"]
    assert entry["mean"] == pytest.approx(max_box_accuracy(maps, [np.array([[[0, 12], [0, 16]]])] * len(rows)).accuracy)
    assert entry["without_score"] == 1
    assert "wholly outside of what the network saw" in finished.stderr


def test_a_requirement_is_of_the_data_set_as_a_whole(run: Run, store: Path, tmp_path: Path) -> None:
    given = annotate(tmp_path / "boxes.json", store, boxes_of(store, tmp_path / "data"))
    maps = list(open_store(store).where(method="gradcam"))
    boxes = boxes_of(store, tmp_path / "data")
    found = max_box_accuracy(np.stack([scaled_map(row).numpy() for row in maps]), [np.array([boxes[row["path"]]]) for row in maps])
    each = [max_box_accuracy(scaled_map(row).numpy()[None], [np.array([boxes[row["path"]]])]).accuracy for row in maps]
    between = (found.accuracy + sum(each) / len(each)) / 2
    assert found.accuracy < between, "one threshold for all is worse than the best of each"

    met = run("check", "c.py", "--data", "data", "--require", f"wsol >= {found.accuracy - 1e-6:.9f}", *given[2:])
    missed = run("check", "c.py", "--data", "data", "--require", f"wsol >= {between:.9f}", *given[2:])

    assert (met.exit_code, missed.exit_code) == (0, 1)


WRONG: dict[str, tuple[tuple[Any, ...], str]] = {
    "no boxes": (
        ("--metrics", "wsol", "--config", "c.py"),
        "compares maps with boxes; give --annotations PATH and --annotations-kind KIND",
    ),
    "no masks": (("--metrics", "pxap", "--config", "c.py"), "compares maps with masks; give --masks DIR"),
    "no such version": (("--metrics", "wsol", *WITH_MASKS, "--set", "wsol.version=3"), "Expected MaxBoxAcc of version 1 or 2, got 3"),
    "no step": (
        ("--metrics", "wsol", *WITH_MASKS, "--set", "wsol.step=0"),
        "Expected a step between thresholds from 1e-05 to 1, such as 0.001, got 0",
    ),
    "a step too fine": (("--metrics", "pxap", *WITH_MASKS, "--set", "pxap.step=1e-9"), "Expected a step between thresholds"),
    "a step of words": (("--metrics", "pxap", *WITH_MASKS, "--set", "pxap.step=fine"), "Expected pxap.step as a number, got 'fine'"),
    "a version of words": (
        ("--metrics", "wsol", *WITH_MASKS, "--set", "wsol.version=[1]"),
        "Expected wsol.version as a whole number, got [1]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_evaluations(run: Run, store: Path, case: str) -> None:
    options, message = WRONG[case]

    finished = run("eval", store, *options)

    assert finished.exit_code == 2, finished.stdout
    assert message in " ".join(finished.stderr.split())
    assert finished.stderr.count("Error") == 1


def test_a_picture_whose_mask_is_empty_is_counted(run: Run, store: Path, tmp_path: Path) -> None:
    write(tmp_path / "masks/r/0.png", np.zeros((SIZE, SIZE), np.uint8))

    finished = run("eval", store, "--metrics", "wsol", "pxap", *WITH_MASKS, "--json")

    assert {entry["without_score"] for entry in finished.report["summary"]} == {2}
    assert "an empty one of" in finished.stderr
