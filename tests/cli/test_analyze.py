"""`camtool analyze ranges`, `importance` and `consistency`, on stores of random maps."""

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camtool.analysis import Normaliser
from camtool.analysis.importance import importance
from camtool.analysis.sources import Source
from camtool.store import Store
from camtool.store.schema import Row
from tests.analysis.stores import random_rows, write_store
from tests.cli.fixtures import Run, pixels

NAMES = ["cat", "dog", "fox", "owl"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of two methods at two layers."""
    rows = random_rows(90, methods=("gradcam", "smooth:gradcam++"), layers=("layer3", "layer4[1]"))
    return write_store(tmp_path / "maps", rows, class_names=NAMES)


def _content(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_ranges_are_a_normaliser_for_each_method_and_layer_and_the_store_stays(run: Run, store: Store, tmp_path: Path) -> None:
    before = _content(store.folder)

    report = run("analyze", "ranges", store.folder, "--json").report

    assert _content(store.folder) == before
    names = ["gradcam_layer3", "gradcam_layer4-1", "smooth-gradcam++_layer3", "smooth-gradcam++_layer4-1"]
    assert report["outputs"] == [str(tmp_path / "maps-analysis" / f"ranges_{name}.json") for name in names]
    fitted = Normaliser.load(report["outputs"][3])
    assert fitted == Normaliser.fit(store, method="smooth:gradcam++", layer="layer4[1]")
    assert report["ranges"][3]["vmax"] == fitted.vmax
    assert (report["ranges"][3]["maps"], report["ranges"][3]["left_out"]) == (81, 9)


def test_methods_layers_and_settings_are_chosen(run: Run, store: Store) -> None:
    chosen = ("--method", "gradcam", "--layer", "layer3", "--out", "own")
    report = run(
        "analyze", "ranges", store.folder, *chosen, "--rescale", "tanh", "--remove-minus", "--percentiles", "99,25", "--json"
    ).report

    (path,) = report["outputs"]
    fitted = Normaliser.load(path)
    assert path == "own/ranges_gradcam_layer3.json"
    assert (fitted.rescale, fitted.remove_minus, fitted.upper, fitted.lower) == ("tanh", True, 99, 25)


def test_importance_has_the_seeds_names_and_places(run: Run, store: Store, tmp_path: Path) -> None:
    finished = run("analyze", "importance", store.folder, "--method", "gradcam", "--layer", "layer3")

    assert finished.exit_code == 0, finished.stderr
    folder = tmp_path / "maps-analysis" / "im"
    files = [f"{name}_gradcam_layer3.csv" for name in ("All", "Diff", "Target")] + ["gradcam_layer3_maxmin.csv"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    with (folder / "Diff_gradcam_layer3.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[1] for row in rows[1:]] == NAMES
    found = importance(store, Source("gradcam", "layer3"))
    np.testing.assert_array_equal(np.array([row[4:] for row in rows[1:]], dtype=float), found.difference)
    with (folder / "gradcam_layer3_maxmin.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["percentile"] for row in table] == ["25", "50", "75", "90", "99"]
    assert float(table[3]["max"]) == Normaliser.fit(store, method="gradcam", layer="layer3").vmax
    assert "owl: no correctly predicted sample" in finished.stdout


def test_methods_that_weigh_no_channels_are_left_out_with_a_remark(run: Run, tmp_path: Path) -> None:
    rows = [replace(row, method="eigencam", importances=None) if row.id >= 9 else row for row in random_rows(18)]
    write_store(tmp_path / "maps", rows)

    finished = run("analyze", "importance", "maps")

    assert finished.exit_code == 0, finished.stderr
    assert "Warning: Left out: No row of eigencam at layer4" in finished.stderr
    assert "All_gradcam_layer4.csv" in finished.stdout
    for arguments in (("--method", "eigencam"), ()):
        if not arguments:
            write_store(tmp_path / "none", [row for row in rows if row.method == "eigencam"], importances=True)
        refused = run("analyze", "importance", "none" if not arguments else "maps", *arguments)
        assert refused.exit_code == 2
        assert "Error: No row of eigencam" in refused.stderr


def test_all_samples_count_on_request(run: Run, store: Store) -> None:
    one = ("--method", "gradcam", "--layer", "layer3", "--json")
    (few,) = run("analyze", "importance", store.folder, *one).report["importance"]
    (all_,) = run("analyze", "importance", store.folder, "--all-samples", *one).report["importance"]

    assert (few["samples"], few["not_counted"], few["left_out"]) == (66, 15, 9)
    assert (all_["samples"], all_["not_counted"]) == (81, 0)


def test_consistency_is_a_table_and_a_plot(run: Run, store: Store, tmp_path: Path) -> None:
    run("analyze", "ranges", store.folder, "--method", "gradcam")
    path = tmp_path / "maps-analysis" / "ranges_gradcam_layer3.json"

    report = run("analyze", "consistency", store.folder, "--normaliser", path, "--json").report

    assert [entry["name"] for entry in report["agreement"]] == ["all", "cat", "dog", "fox"]
    assert report["agreement"][0]["maps"] == 81
    assert all(entry["auroc"] is None for entry in report["agreement"])
    table, plot = report["outputs"]
    with open(table, encoding="utf-8") as file:
        assert [float(row["corr_logit"]) for row in csv.DictReader(file)] == [entry["corr_logit"] for entry in report["agreement"]]
    assert pixels(plot).std() > 5


def test_without_a_normaliser_it_is_fitted_on_the_store_itself(run: Run, store: Store) -> None:
    printed = run("analyze", "consistency", store.folder, "--method", "gradcam", "--layer", "layer3")

    assert printed.exit_code == 0, printed.stderr
    assert printed.stdout.splitlines()[0].split()[:5] == ["method", "layer", "class", "name", "maps"]
    assert printed.stdout.count("Saved: ") == 2


def test_a_plot_without_a_point_is_not_drawn(run: Run, tmp_path: Path) -> None:
    """A store of raw outputs has no probabilities."""
    rows = random_rows(20)
    whole, raw = (
        write_store(tmp_path / name, found) for name, found in (("whole", rows), ("raw", [replace(r, probability=None) for r in rows]))
    )
    widths = {}
    for store in (whole, raw):
        (picture,) = (path for path in run("analyze", "consistency", store.folder, "--json").report["outputs"] if path.endswith(".png"))
        widths[store.folder.name] = pixels(picture).shape[1]
    assert widths["raw"] * 3 == widths["whole"] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ranges", "missing"), "No store 'missing'"),
        (("ranges", "."), "is no store"),
        (("ranges", "maps", "--layer", "layer5"), "no maps of the layer 'layer5'; closest"),
        (("ranges", "maps", "--method", "gradcm"), "closest: 'gradcam'"),
        (("ranges", "maps", "--out", "maps/in"), "which stays as it is"),
        (("ranges", "maps", "--out", "maps"), "which stays as it is"),
        (("ranges", "maps", "--percentiles", "90"), "Expected --percentiles MAX,MIN"),
        (("ranges", "maps", "--percentiles", "190,2"), "between 0 and 100"),
        (("ranges", "maps", "--rescale", "tan"), "closest: 'tanh'"),
        (("consistency", "maps", "--normaliser", "maps/run.json"), "is no normaliser"),
        (("ranges", "maps", "--scale-ratio", "0"), "above 0"),
        (("rnages", "maps"), "No such command 'rnages'"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    run: Run, store: Store, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    before = _content(tmp_path)

    finished = run("analyze", *arguments)

    assert finished.exit_code == 2
    assert words in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    assert finished.stdout == ""
    assert _content(tmp_path) == before


def test_a_degenerate_range_is_refused(run: Run, tmp_path: Path) -> None:
    rows = [
        Row(k, f"{k}", method="gradcam", layer=layer, map=torch.full((2, 2), 1.0 + k * n)) for k in (0, 1) for n, layer in enumerate("ab")
    ]
    write_store(tmp_path / "flat", rows)

    finished = run("analyze", "ranges", "flat")

    assert finished.exit_code == 2
    assert "The range of gradcam at a is degenerate: vmax 1 <= vmin 1" in finished.stderr
    assert not (tmp_path / "flat-analysis").exists()


def test_a_damaged_shard_is_named(run: Run, store: Store) -> None:
    path = store.folder / "maps-000001.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)

    for command in ("ranges", "importance", "consistency"):
        finished = run("analyze", command, store.folder)
        assert finished.exit_code == 2
        assert "maps-000001.parquet' is damaged" in finished.stderr


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    finished = run("analyze")

    assert finished.exit_code == 2
    assert "\n  importance " in finished.stderr
    assert "Error" not in finished.stderr
