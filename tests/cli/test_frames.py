"""`camtool vis --span` and `camtool run --span`: networks that score each frame of a signal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camtool.store
from tests.apis.test_frames import NETWORK
from tests.cli.fixtures import Run, pixels

RATE = 100.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "frames.py").write_text(NETWORK)
    model = {"type": "camtool.TorchModel", "factory": "frames.py:Frames", "kwargs": {"window": 25, "last": True}, "with_weights": True}
    model |= {"preprocess": {"rate": 50}, "classes": ["wake", "light", "deep"]}
    (tmp_path / "c.py").write_text(f"model = {model!r}\n")
    return tmp_path / "c.py"


def write(path: Path, seed: int = 0) -> Path:
    np.savetxt(path, np.random.default_rng(seed).normal(size=(1000, 2)), delimiter=",", header="I,II", comments="")
    return path


def test_a_span_is_explained_drawn_and_reported(config: Path, run: Run, tmp_path: Path) -> None:
    record = write(tmp_path / "record.csv")
    command = (
        "vis",
        record,
        config,
        "--sampling-rate",
        RATE,
        "--start",
        2,
        "--method",
        "hirescam",
        "saliency",
        "--target-category",
        "light",
    )

    report = run(*command, "--target", "region", "--span", "4:5.5", "-o", "a.png", "--save-raw", "a.npz", "--json").report
    finished = run(*command, "--span", "all", "-o", "b.png")

    assert finished.exit_code == 0, finished.stderr
    assert report["target"]["name"] == "region"
    assert report["target"]["span"] == [[4.0, 5.5]]
    assert report["target"]["explains"] == ["light (1), sum of 3 frames at 4 to 5.5 s"]
    arrays = np.load(tmp_path / "a.npz")
    (raw,) = [arrays[key] for key in arrays.files if key.startswith("raw/hirescam")]
    assert set(np.flatnonzero(raw[0])) <= {4, 5, 6}  # half seconds from second 2
    grey = (pixels(tmp_path / "a.png")[..., :3].astype(int) == 232).all(axis=2).sum(axis=0) > 50
    assert 0.17 * 1100 < grey.sum() < 0.2 * 1100, "the span is shaded, 1.5 of 8 seconds"
    assert abs(np.flatnonzero(grey)[0] - (92 + 1100 * 2 / 8)) < 4
    assert not (pixels(tmp_path / "b.png")[..., :3] == 232).all(axis=2).sum(axis=0).max() > 50


def test_a_folder_of_records_is_run(config: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for seed in range(3):
        write(tmp_path / "data" / f"{seed}.csv", seed)
    config.write_text(config.read_text() + f"input = dict(kind='signal', rate={RATE})\n")

    finished = run("run", config, "--data", "data", "--out", "store", "--span", "1:2", "--target-category", "deep", "--method", "hirescam")
    other = run("run", config, "--data", "data", "--out", "store", "--span", "2:3", "--target-category", "deep", "--method", "hirescam")

    assert finished.exit_code == 0, finished.stderr
    rows = list(camtool.store.open(tmp_path / "store"))
    assert [row["target"] for row in rows] == [2] * 3
    for row in rows:
        assert row.map is not None
        assert set(np.flatnonzero(row.map.numpy())) <= {2, 3}
    assert other.exit_code == 2, "another span is another run"
    assert "target" in other.stderr


WRONG: dict[str, tuple[list[Any], str]] = {
    "no seconds": (["--span", "1.5"], "FROM:TO in seconds"),
    "the end first": (["--span", "3:2"], "ends behind its begin"),
    "outside": (["--span", "30:31"], "outside of what the network sees"),
    "another target": (["--span", "1:2", "--target", "probability"], "--span belongs to --target region"),
    "a mask beside it": (["--span", "1:2", "--mask", "record.csv"], "leave one of them out"),
    "axes alone": (["--output-axes", "ntc"], "--output-axes belongs to --span"),
    "axes that are none": (["--span", "1:2", "--output-axes", "nc"], "--output-axes"),
    "no such class": (["--span", "1:2", "--target-category", "rem"], "rem"),
    "the best classes": (["--span", "1:2", "--top-k", 2], "--top-k"),
    "no span": ([], "--span FROM:TO"),
    "a class that is nowhere": (["--span", "predicted", "--target-category", 0, 1, 2], "is predicted in none of the 20 frames"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_spans(config: Path, run: Run, tmp_path: Path, case: str) -> None:
    options, message = WRONG[case]
    record = write(tmp_path / "record.csv")
    before = sorted(tmp_path.iterdir())

    finished = run("vis", record, config, "--sampling-rate", RATE, *options)

    assert finished.exit_code == 2, finished.stdout
    assert message in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
