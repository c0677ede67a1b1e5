"""`camtool eval`: scores of a store's maps, interrupted and gone on with, their tables, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from camtool import Explainer
from camtool.apis.stored_pictures import scaled_map
from camtool.evaluation.results import MeanCurve
from camtool.io.volumes import Geometry
from camtool.metrics import adcc, deletion_curves, iou, max_sensitivity, road_curves
from camtool.store import open as open_store
from camtool.targets import ClassProbability
from tests.cli import evaluated
from tests.cli.evaluated import SIZE, WITH_MASKS, coco, rows_of, store_class_names, write
from tests.cli.fixtures import Run, pixels

store = evaluated.store


def test_scores_stand_in_tables_beside_baselines(run: Run, store: Path, tmp_path: Path) -> None:
    finished = run("eval", store, "--metrics", "iou", "ioa", *WITH_MASKS, "--json")

    report = finished.report
    means = {(entry["metric"], entry["method"]): entry["mean"] for entry in report["summary"]}
    assert set(means) == {(metric, name) for metric in ("iou", "ioa") for name in ("gradcam", "layercam", "random", "center", "edges")}
    assert means["iou", "gradcam"] > 0.5 > means["iou", "center"] > means["iou", "random"]
    for entry in report["summary"]:
        assert entry["low"] <= entry["mean"] <= entry["high"]
        assert (entry["maps"], entry["without_score"]) == (11, 1)
    assert "No mask of 'g/11.png'" in finished.stderr
    by_class = rows_of(tmp_path / "store-eval/by_class.csv")
    assert {(row["class"], row["maps"]) for row in by_class if row["method"] == "gradcam"} == {("0", "6"), ("1", "5")}
    compared = {
        (entry["first"].split()[0], entry["second"].split(",")[0]): entry for entry in report["comparisons"] if entry["metric"] == "iou"
    }
    assert compared["gradcam", "random"]["p_holm"] < 0.05
    assert compared["gradcam", "random"]["count"] == 11
    assert len(compared) == 10
    assert np.ptp(pixels(tmp_path / "store-eval/figs/iou.png")) > 0


def test_a_score_is_that_of_the_map_and_the_mask_on_the_picture(run: Run, store: Path, tmp_path: Path) -> None:
    assert run("eval", store, "--metrics", "iou", *WITH_MASKS, "--set", "iou.threshold=0.4").exit_code == 0

    table = pq.read_table(tmp_path / "store-eval/iou/scores-000000.parquet").to_pylist()
    scores = {(row["path"], row["method"]): row for row in table}
    for row in open_store(store).where(method="gradcam"):
        if row["path"] == "g/11.png":
            continue
        mask = pixels(tmp_path / "masks" / row["path"])[..., 0] > 0
        expected = iou(scaled_map(row).numpy()[None], mask[None], 0.4)[0]
        found = scores[row["path"], "gradcam"]
        assert found["score"] == pytest.approx(float(expected), abs=1e-5)
        assert json.loads(found["protocol"]) == {"class_rule": {"categories": ["predicted"], "target": None}, "threshold": 0.4}


def test_equal_maxima_are_drawn_for_each_sample_anew(run: Run, store: Path, tmp_path: Path) -> None:
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    for left in (4, 20):  # two squares that are alike, of which one is marked
        picture[10:22, left : left + 8, 0] = 200
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:, : SIZE // 2] = 255
    for number in range(30):
        write(tmp_path / f"alike/{number}.png", picture)
        write(tmp_path / f"halves/{number}.png", mask)
    assert run("run", "c.py", "--data", "alike", "--out", "ties").exit_code == 0
    options = ("--metrics", "pointing", "--masks", "halves", "--config", "c.py", "--set", "pointing.tolerance=0", "--json")

    means = {entry["method"]: entry["mean"] for entry in run("eval", "ties", *options).report["summary"]}

    assert 0.2 < means["gradcam"] < 0.8


def test_the_network_is_run_again_as_in_the_run(run: Run, store: Path, tmp_path: Path) -> None:
    finished = run(
        "eval", store, "--metrics", "deletion", "insertion", "--config", "c.py", "--method", "gradcam", "--json", "--batch-size", 7
    )

    means = {(entry["metric"], entry["method"]): entry["mean"] for entry in finished.report["summary"]}
    assert means["deletion", "gradcam"] < means["deletion", "random"]
    assert means["insertion", "gradcam"] > means["insertion", "random"]
    assert np.ptp(pixels(tmp_path / "store-eval/figs/deletion_curves.png")) > 0
    explainer = Explainer("c.py")
    rows = {(row["path"], row["method"]): row for row in pq.read_table(tmp_path / "store-eval/deletion/scores-000000.parquet").to_pylist()}
    for row in list(open_store(store).where(method="gradcam"))[:3]:
        _, inputs = explainer.preprocessed(tmp_path / "data" / row["path"])
        target = ClassProbability(row["target"])
        expected = deletion_curves(explainer.network.model, inputs, scaled_map(row)[None], target)
        found = rows[row["path"], "gradcam"]
        assert found["score"] == pytest.approx(float(expected.areas()[0]), abs=1e-5)
        assert found["curve"] == pytest.approx(expected.scores[0].tolist(), abs=1e-5)
        assert found["curve"][0] == pytest.approx(row["probability"], abs=1e-5)


def test_removal_is_drawn_as_curves_of_both_orders(run: Run, store: Path, tmp_path: Path) -> None:
    finished = run("eval", store, "--metrics", "road", "--config", "c.py", "--method", "gradcam", "--json")

    figures = [tmp_path / f"store-eval/figs/road{kind}_curves.png" for kind in ("", "_lerf")]
    assert {Path(path) for path in finished.report["outputs"]} >= set(figures)
    assert not np.array_equal(*map(pixels, figures))
    explainer = Explainer("c.py")
    rows = {(row["path"], row["method"]): row for row in pq.read_table(tmp_path / "store-eval/road/scores-000000.parquet").to_pylist()}
    for row in list(open_store(store).where(method="gradcam"))[:2]:
        _, inputs = explainer.preprocessed(tmp_path / "data" / row["path"])
        found = rows[row["path"], "gradcam"]
        assert found["fractions"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9])
        for column, order in (("curve", "morf"), ("lerf", "lerf")):
            arguments = (explainer.network.model, inputs, scaled_map(row)[None], ClassProbability(row["target"]))
            expected = road_curves(*arguments, order=order).scores[0]
            assert found[column] == pytest.approx([row["probability"], *expected], abs=1e-5)
        assert found["score"] == pytest.approx(np.mean(np.subtract(found["lerf"], found["curve"])[1:]) / 2, abs=1e-6)
    mean = MeanCurve()
    mean.add([0.0, 0.5], [1.0, 0.0])
    assert [round(value, 3) for value in mean.band()[0][[0, 25, 50]]] == [1, 0.5, 0]
    assert np.isnan(mean.band()[0][51:]).all(), "nothing is said of shares that were not removed"


def test_a_method_is_asked_again_as_in_the_run(run: Run, store: Path, tmp_path: Path) -> None:
    names = ("adcc", "max-sensitivity", "randomisation", "emprt")
    finished = run("eval", store, "--metrics", *names, "--config", "c.py", "--set", "max-sensitivity.samples=3", "--json")

    means = {(entry["metric"], entry["method"]): entry["mean"] for entry in finished.report["summary"]}
    assert means["adcc", "random"] is None, "a baseline is no method that could be asked again"
    assert "baseline" not in finished.stderr
    explainer = Explainer("c.py")

    def explain(inputs: Tensor, targets: list[Any]) -> Tensor:
        found: Tensor = explainer.cam(inputs, [target.index for target in targets])["gradcam"].maps
        return found

    rows = list(open_store(store).where(method="gradcam"))
    inputs = torch.cat([explainer.preprocessed(tmp_path / "data" / row["path"])[1] for row in rows])
    maps, targets = torch.stack([scaled_map(row) for row in rows]), [ClassProbability(row["target"]) for row in rows]
    model = explainer.network.model
    expected = {
        "adcc": adcc(model, inputs, maps, explain, targets),
        "max-sensitivity": max_sensitivity(model, inputs, explain, targets, samples=3),
    }
    for name, scores in expected.items():
        table = pq.read_table(tmp_path / f"store-eval/{name}/scores-000000.parquet").to_pylist()
        found = [row["score"] for row in table if row["method"] == "gradcam"]
        assert found == pytest.approx(scores.tolist(), rel=1e-4)
    assert means["max-sensitivity", "gradcam"] < 0.2
    assert means["randomisation", "gradcam"] < 0.9
    assert means["emprt", "gradcam"] is not None


def test_a_network_is_evaluated_at_once(run: Run, store: Path, tmp_path: Path) -> None:
    options = ("--metrics", "iou", "deletion", "--masks", "masks", "--out", "live", "--json")
    of_store = run("eval", store, "--config", "c.py", "--method", "layercam", *options[:-3], "--out", "stored", "--json").report

    live = run("eval", "c.py", "--data", "data", "--method", "layercam", *options).report
    again = run("eval", "c.py", "--data", "data", "--method", "layercam", *options).report

    assert live["summary"] == of_store["summary"] == again["summary"]
    assert (tmp_path / "live/maps/run.json").is_file()
    refused = run("eval", "c.py", "--data", "data", "--metrics", "iou", "--masks", "masks")
    assert refused.exit_code == 2
    assert "Expected --out DIR with --data" in refused.stderr


def test_annotations_are_those_of_the_explained_class(run: Run, store: Path, tmp_path: Path) -> None:
    rows = {row["path"]: row for row in open_store(store).where(method="gradcam")}
    right, names = {}, store_class_names(store)
    for path, row in rows.items():
        where = np.argwhere(pixels(tmp_path / "data" / path)[..., row["target"]] > 100)
        (top, left), (bottom, last) = where.min(axis=0), where.max(axis=0) + 1
        box = [float(left), float(top), float(last - left), float(bottom - top)]
        other = names[1 - row["target"]]
        right[path] = [(names[row["target"]], box), (other, [0.0, 0.0, 3.0, 3.0])]
    first = next(iter(right))
    right[first] = right[first][1:]  # an object of the other class alone
    coco(tmp_path / "boxes.json", right)
    given = ("--config", "c.py", "--annotations", "boxes.json", "--annotations-kind", "coco", "--method", "gradcam")

    finished = run("eval", store, "--metrics", "energy", "iou", *given, "--json")

    means = {(entry["metric"], entry["method"]): entry for entry in finished.report["summary"]}
    assert means["energy", "gradcam"]["mean"] > 0.6 > means["energy", "random"]["mean"]
    assert (means["energy", "gradcam"]["maps"], means["energy", "gradcam"]["without_score"]) == (11, 1)
    assert "Expected an annotated object of" in finished.stderr
    assert run("check", "c.py", "--data", "data", "--require", "energy >= 0.6", *given[2:]).exit_code == 0


def test_a_mask_that_is_empty_or_outside_of_the_crop_is_no_hit_and_no_miss(run: Run, store: Path, tmp_path: Path) -> None:
    (tmp_path / "cropped.py").write_text((tmp_path / "c.py").read_text().replace("{'resize': 32}", "{'resize': 32, 'crop': 16}"))
    assert run("run", "cropped.py", "--data", "data", "--out", "cropped").exit_code == 0
    write(tmp_path / "masks/r/0.png", np.zeros((SIZE, SIZE), np.uint8))
    corner = np.zeros((SIZE, SIZE), np.uint8)
    corner[:4, :4] = 255
    write(tmp_path / "masks/r/2.png", corner)

    finished = run("eval", "cropped", "--metrics", "pointing", "--masks", "masks", "--config", "cropped.py", "--json")

    rows = {
        (row["path"], row["method"]): row for row in pq.read_table(tmp_path / "cropped-eval/pointing/scores-000000.parquet").to_pylist()
    }
    assert "empty" in rows["r/0.png", "gradcam"]["reason"]
    assert "wholly outside of what the network saw" in rows["r/2.png", "gradcam"]["reason"]
    assert rows["r/2.png", "gradcam"]["score"] is None
    (entry,) = [entry for entry in finished.report["summary"] if entry["method"] == "gradcam"]
    assert entry["without_score"] >= 3


@pytest.mark.parametrize("axes", [1, 3])
def test_signals_and_volumes_need_no_config_for_scores_against_masks(run: Run, tmp_path: Path, axes: int) -> None:
    from tests.cli.test_overlap import BALL, SHAPE, ball, config, write_volume

    if axes == 3:
        geometry = Geometry(np.array([[-1.0, 0, 0, 5], [0, 0, 2, 1], [0, 1, 0, 3], [0, 0, 0, 1]]))
        recipe = config(tmp_path, 3, {"orientation": "RAS", "axes": "zyx"})
        write_volume(tmp_path / "data/1.nii.gz", ball(BALL), geometry)
        write_volume(tmp_path / "masks/1.nii.gz", ball(BALL), geometry)
        share = ball(BALL).sum() / np.prod(SHAPE)
    else:
        recipe = config(tmp_path, 1, {"rate": 20.0})
        with recipe.open("a") as file:
            file.write("input = dict(kind='signal', rate=40.0)\n")
        pulse = (np.abs(np.arange(160) - 100) < 12).astype(np.float32)
        for folder in ("data", "masks"):
            (tmp_path / folder).mkdir()
            np.save(tmp_path / folder / "1.npy", pulse)
        share = pulse.mean()
    assert run("run", recipe, "--data", "data", "--out", "store", "--target-category", 0).exit_code == 0

    masks = run("eval", "store", "--metrics", "energy", "rank-accuracy", "pointing", "wsol", "pxap", "--masks", "masks", "--json").report
    network = run("eval", "store", "--metrics", "deletion", "road", "--config", recipe, "--out", "of_network", "--json").report

    means = {(entry["metric"], entry["method"]): entry["mean"] for entry in [*masks["summary"], *network["summary"]]}
    assert means["energy", "gradcam"] > max(2.5 * share, means["energy", "random"])
    assert means["rank-accuracy", "gradcam"] > 0.6 > means["rank-accuracy", "random"]
    assert means["pointing", "gradcam"] == 1
    assert means["pxap", "gradcam"] > 1.5 * means["pxap", "random"]
    assert means["wsol", "gradcam"] > 0.6  # of one sample chance may find the box, too, at the best of 1000 thresholds
    assert {entry["metric"] for entry in network["summary"]} == {"deletion", "road"}


def test_an_interrupted_evaluation_goes_on_with_the_same_bytes(
    run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camtool.evaluation import scoring

    assert run("eval", store, "--metrics", "iou", "wioa", *WITH_MASKS, "--out", "whole").exit_code == 0
    write_scores = scoring.write_scores

    def killed(path: Path, rows: Any) -> None:
        if path.parent.name == "wioa":
            raise KeyboardInterrupt
        write_scores(path, rows)

    monkeypatch.setattr(scoring, "write_scores", killed)
    assert run("eval", store, "--metrics", "iou", "wioa", *WITH_MASKS, "--out", "part").exit_code != 0
    monkeypatch.setattr(scoring, "write_scores", write_scores)
    assert not (tmp_path / "part/wioa/scores-000000.parquet").exists()
    first = (tmp_path / "part/iou/scores-000000.parquet").stat().st_mtime_ns

    assert run("eval", store, "--metrics", "iou", "wioa", *WITH_MASKS, "--out", "part").exit_code == 0

    assert (tmp_path / "part/iou/scores-000000.parquet").stat().st_mtime_ns == first, "what was there is not made again"
    for name in ("iou", "wioa"):
        path = f"{name}/scores-000000.parquet"
        assert (tmp_path / "whole" / path).read_bytes() == (tmp_path / "part" / path).read_bytes()


def test_another_setting_does_not_go_on_with_the_scores_of_this_one(run: Run, store: Path) -> None:
    assert run("eval", store, "--metrics", "iou", *WITH_MASKS).exit_code == 0

    finished = run("eval", store, "--metrics", "iou", *WITH_MASKS, "--set", "iou.threshold=0.5")

    assert finished.exit_code == 2
    assert "protocol.threshold: 0.5 instead of otsu" in finished.stderr


def test_all_is_what_can_be_computed(run: Run, store: Path) -> None:
    finished = run("eval", store, "--metrics", "all")

    assert finished.exit_code in (0, 2)
    assert "--masks DIR" in " ".join(finished.stderr.split())
