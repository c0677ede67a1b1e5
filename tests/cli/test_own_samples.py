"""Maps of a config's own data set are evaluated on its samples, which are in no file, against the masks that they have."""

from pathlib import Path

import numpy as np
import pytest

from camtool.apis.stored_pictures import scaled_map
from camtool.config.loading import load_config
from camtool.datasets.splits import Samples
from camtool.metrics import energy
from camtool.store import open as open_store
from tests.cli.fixtures import ROOT, Run

SHAPES = ROOT / "configs/shapes/cnn_tiny_shapes.py"
SIGNALS, OF_CONV1D, VOLUMES = (
    ROOT / f"configs/shapes/{name}.py" for name in ("cnn_tiny_signals", "conv1d_tiny_signals", "cnn_tiny_volumes")
)
RUN = ("--data", "config:val", "--random-weights", "--target-category", "label")


@pytest.mark.parametrize("config", [SHAPES, SIGNALS, OF_CONV1D, VOLUMES])
def test_the_data_sets_own_masks_are_those_of_the_explained_class(run: Run, tmp_path: Path, config: Path) -> None:
    assert run("run", config, *RUN, "--limit", 6, "--method", "layercam", "--out", "store").exit_code == 0

    finished = run("eval", "store", "--metrics", "energy", "wsol", "pxap", "--config", config, "--json")

    loaded = load_config(str(config))
    samples = Samples(loaded.config, "val", loaded.name)
    expected = []
    for row in open_store(tmp_path / "store").where(method="layercam"):
        mask = np.asarray(samples.answers(row["id"])["mask"])
        if row["label"] != 2 and row.map is not None:  # the class of scenes without an object
            size = row.input_size
            assert size is not None
            expected.append(float(energy(scaled_map(row)[None], mask.reshape(1, *size))[0]))
    means = {(entry["metric"], entry["method"]): entry for entry in finished.report["summary"]}
    assert means["energy", "layercam"]["mean"] == pytest.approx(np.mean(expected), abs=0.02)  # the place on the picture is measured
    assert (means["energy", "layercam"]["maps"], means["energy", "layercam"]["without_score"]) == (5, 1)
    assert means["wsol", "layercam"]["maps"] == means["pxap", "layercam"]["maps"] == 5
    assert "Expected an annotated object of '2' or 'nothing'" in finished.stderr


def test_the_network_is_run_on_samples_that_are_in_no_file(run: Run) -> None:
    assert run("run", SHAPES, *RUN, "--limit", 4, "--method", "layercam", "--out", "store").exit_code == 0

    finished = run("eval", "store", "--metrics", "deletion", "adcc", "--config", SHAPES, "--random-weights", "--json")

    assert [entry["maps"] for entry in finished.report["summary"] if entry["method"] == "layercam"] == [4, 4]


def test_a_requirement_needs_no_folder_of_masks(run: Run) -> None:
    command = ("check", SHAPES, *RUN, "--limit", 6)

    assert run(*command, "--require", "energy >= 0").exit_code == 0
    unmet = run(*command, "--require", "energy >= 0.99", "--each")

    assert unmet.exit_code == 1
    assert "none  val 2" in unmet.stdout


def test_what_is_not_the_runs_data_set_is_told_before_maps_are_made(run: Run, tmp_path: Path) -> None:
    refused = run("check", SHAPES, "--data", "config:test", "--random-weights", "--require", "energy >= 0")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "Expected config:val or config:train, got 'config:test'" in refused.stderr

    bare = tmp_path / "bare.py"
    dataset = "dict(type='CustomDataset', data_root='pictures', pipeline=[])"
    bare.write_text(f"_base_ = {str(SHAPES)!r}\nval_dataloader = dict(_delete_=True, batch_size=1, dataset={dataset})\n")
    refused = run("check", bare, "--data", "config:val", "--random-weights", "--require", "energy >= 0")
    assert refused.exit_code == 2
    assert "compares maps with masks; give --masks DIR" in " ".join(refused.stderr.split())

    assert run("run", SHAPES, *RUN, "--limit", 2, "--out", "store").exit_code == 0
    other = tmp_path / "other.py"
    other.write_text(f"_base_ = {str(SHAPES)!r}\nval_dataloader = dict(dataset=dict(distractors=0))\n")
    finished = run("eval", "store", "--metrics", "energy", "--config", other)
    assert finished.exit_code == 2
    assert "is not what was explained; expected the config of the run" in " ".join(finished.stderr.split())
