"""Data sets of volumes and signals: `camtool browse`, `vis`, `run` and `eval` explain the same of the same sample."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from camtool.config.loading import load_config
from camtool.datasets.splits import Samples
from camtool.io.signals import Signal, SignalReading
from camtool.io.volumes import Volume, VolumeReading
from camtool.store import open as open_store
from tests.cli.fixtures import CAT, ROOT, Run, pixels

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")  # of random weights a map may be negative everywhere
READINGS = {"cnn_tiny_volumes": VolumeReading(), "cnn_tiny_signals": SignalReading(), "conv1d_tiny_signals": SignalReading()}


@pytest.fixture(params=READINGS)
def config(request: pytest.FixtureRequest) -> Path:
    return ROOT / f"configs/shapes/{request.param}.py"


def saved(config: Path, index: int, folder: Path) -> Path:
    """Return an array file of a validation sample."""
    content: Any = Samples(load_config(str(config)).config, "val", "").read(index, READINGS[config.stem]).content
    assert isinstance(content, Volume | Signal)
    path = folder / "sample.npy"
    np.save(path, content.values)
    return path


def test_a_sample_of_the_data_set_is_explained_as_a_file_of_the_same_values(run: Run, config: Path, tmp_path: Path) -> None:
    of_data = run("browse", config, "--random-weights", "--index", 3, "--json").report
    of_file = run("browse", config, "--random-weights", "--image", saved(config, 3, tmp_path), "--json").report
    by_vis = run("vis", saved(config, 3, tmp_path), config, "--random-weights", "--json", "--save-path", tmp_path / "map.png").report

    assert of_data["samples"][0]["predicted"] == of_file["samples"][0]["predicted"]
    assert by_vis["predicted"] == of_data["samples"][0]["predicted"]
    assert [entry["index"] for entry in of_data["samples"][0]["true"]] == [3]
    assert of_file["samples"][0]["true"] == []
    assert pixels(tmp_path / of_data["outputs"][0]).std() > 10, "a figure that is not blank"


def test_a_run_over_the_split_has_the_maps_of_its_files(run: Run, config: Path, tmp_path: Path) -> None:
    run("run", config, "--random-weights", "--data", "config:val", "--limit", 4, "--out", tmp_path / "split")
    folder = tmp_path / "files"
    folder.mkdir()
    for index in range(4):
        saved(config, index, tmp_path).rename(folder / f"{index}.npy")
    run("run", config, "--random-weights", "--data", folder, "--out", tmp_path / "files_store")

    rows, others = (list(open_store(tmp_path / name)) for name in ("split", "files_store"))

    assert [row["label"] for row in rows] == [0, 1, 2, 3]
    assert len(rows) == len(others) == 4
    for row, other in zip(rows, others, strict=True):
        assert torch.equal(row.map, other.map)
        assert row["digest"] is not None


def test_a_picture_is_refused_by_what_the_network_takes(run: Run, config: Path, tmp_path: Path) -> None:
    finished = run("vis", CAT, config, "--random-weights")

    assert finished.exit_code == 2
    is_volume = "volumes" in config.stem
    message = (
        f"Expected a volume, which is what the network takes, got the picture '{CAT}'." if is_volume else f"Signal '{CAT}' is of an unknown"
    )
    assert message in " ".join(finished.stderr.split())
    assert list(tmp_path.iterdir()) == []
