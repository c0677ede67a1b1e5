"""Options of how files are read: the same of every command that reads files, and part of what a store depends on."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import camtool.store
from camtool.cli.file_options import FileOptions
from camtool.cli.main import COMMANDS
from tests.cli.evaluated import NETWORK, SIZE, disc, rows_of, write
from tests.cli.fixtures import Finished, Run

PAGES = ((8, 8), (22, 20))
"""Where the disc lies on each page."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The config of a network that looks at discs; files of two pages, with a mask of the disc of the second, and the page by itself."""
    (tmp_path / "net.py").write_text(NETWORK)
    model = {"type": "camtool.TorchModel", "factory": "net.py:build", "with_weights": True, "preprocess": {"resize": SIZE}}
    (tmp_path / "c.py").write_text(f"model = {model!r}\ncam = dict(target_layers='layer')\n")
    noise = np.random.default_rng(0).integers(0, 40, size=(SIZE, SIZE, 3), dtype=np.uint8)
    first, second = (Image.fromarray(noise + 200 * disc(place)[..., None] * np.array([1, 0, 0], np.uint8)) for place in PAGES)
    (tmp_path / "data").mkdir()
    first.save(tmp_path / "data/0.tif", save_all=True, append_images=[second])
    write(tmp_path / "second/0.png", np.asarray(second))
    write(tmp_path / "masks/0.png", 255 * disc(PAGES[1]))
    return tmp_path / "c.py"


def refused(finished: Finished, *said: str) -> None:
    assert finished.exit_code == 2, finished.stdout
    assert finished.stderr.count("\n") == 1
    for text in said:
        assert text in finished.stderr


@pytest.mark.parametrize("command", ["vis", "run", "layers", "browse", "eval", "check"])
def test_every_command_that_reads_files_has_all_options_of_them(command: str) -> None:
    parameters = inspect.signature(COMMANDS[command]).parameters
    assert set(inspect.signature(FileOptions).parameters) <= set(parameters)
    assert "files" not in parameters


def test_a_run_reads_the_frame_that_is_asked_for_and_no_other_goes_on_with_it(config: Path, run: Run, tmp_path: Path) -> None:
    assert run("run", config, "--data", "data", "--out", "store", "--frame", 1).exit_code == 0
    assert run("run", config, "--data", "second", "--out", "alone").exit_code == 0

    (row,), (expected,) = camtool.store.open(tmp_path / "store"), camtool.store.open(tmp_path / "alone")
    assert row.map.equal(expected.map)
    assert row["status"] == "ok"
    assert camtool.store.open(tmp_path / "store").run["input"]["reading"] == {"frame": 1}
    assert run("run", config, "--data", "data", "--out", "store", "--frame", 1, "--json").report["made"] == 0
    refused(run("run", config, "--data", "data", "--out", "store", "--frame", 0), "changed: config.input.frame: 0 instead of 1")
    refused(run("run", config, "--data", "data", "--out", "store"), "changed: config.input: None instead of {'frame': 1}")


def test_values_of_a_picture_and_its_largest_size_are_said_to_a_run(config: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "bits"
    folder.mkdir()
    Image.fromarray(disc(PAGES[0]).astype(np.uint16) * 900).save(folder / "0.png")

    for out, given in (("all", ()), ("part", ("--value-range", 0, 900)), ("small", ("--max-pixels", 100))):
        assert run("run", config, "--data", "bits", "--out", out, *given).exit_code == 0

    (dim,), (bright,), (small,) = (camtool.store.open(tmp_path / name) for name in ("all", "part", "small"))
    assert float(bright.map.max()) > 20 * float(dim.map.max()) > 0
    assert small["status"] == "unreadable"
    refused(run("run", config, "--data", "bits", "--out", "part", "--value-range", 0, 800), "config.input.value_range")


def test_scores_are_those_of_the_frame(config: Path, run: Run, tmp_path: Path) -> None:
    wanted = ("check", config, "--data", "data", "--masks", "masks", "--require", "energy >= 0.5")
    assert [run(*wanted, *given).exit_code for given in ((), ("--frame", 0), ("--frame", 1))] == [1, 1, 0]

    evaluated = ("--masks", "masks", "--metrics", "energy", "deletion")
    assert run("eval", config, "--data", "data", *evaluated, "--out", "pages", "--frame", 1).exit_code == 0
    assert run("eval", config, "--data", "second", *evaluated, "--out", "alone").exit_code == 0
    assert [row["mean"] for row in rows_of(tmp_path / "pages/summary.csv")] == [
        row["mean"] for row in rows_of(tmp_path / "alone/summary.csv")
    ]


def test_a_store_is_read_again_as_its_run_read_it(config: Path, run: Run, tmp_path: Path) -> None:
    assert run("run", config, "--data", "data", "--out", "store", "--frame", 1).exit_code == 0
    assert run("run", config, "--data", "second", "--out", "alone").exit_code == 0
    evaluated = ("--metrics", "deletion", "--config", config)

    for store, *given in (("store",), ("store", "--frame", 1), ("alone",)):
        assert run("eval", store, *evaluated, *given, "--out", f"{store}{len(given)}").exit_code == 0
        assert run("show", store, "--config", config, "-o", f"{store}.png").exit_code == 0

    means = [[row["mean"] for row in rows_of(tmp_path / f"{name}/summary.csv")] for name in ("store0", "store2", "alone0")]
    assert means[0] == means[1] == means[2]
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"), np.int16) for name in ("store", "alone")]
    assert np.abs(pictures[0] - pictures[1])[:SIZE].mean() < 2  # the captions have other names
    refused(run("eval", "store", *evaluated, "--frame", 0, "--out", "other"), "were read with frame=1, --frame says 0")
    assert not (tmp_path / "other").exists()


def test_a_data_set_of_a_config_is_read_by_the_options(config: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "annotations.txt").write_text("0.tif 0\n")
    dataset: dict[str, Any] = {"type": "CustomDataset", "data_root": str(tmp_path), "data_prefix": "data", "ann_file": "annotations.txt"}
    dataset["classes"] = ["r", "g"]
    config.write_text(f"{config.read_text()}\nval_dataloader = dict(dataset={dataset!r})\n")

    assert run("run", config, "--data", "config:val", "--out", "store", "--frame", 1).exit_code == 0
    assert run("run", config, "--data", "second", "--out", "alone").exit_code == 0
    drawn = run("browse", config, "--index", 0, "--frame", 1, "--out-dir", "drawn")

    (row,), (expected,) = camtool.store.open(tmp_path / "store"), camtool.store.open(tmp_path / "alone")
    assert row.map.equal(expected.map)
    assert drawn.exit_code == 0, drawn.stderr
    assert "frames or pages" not in drawn.stderr


def test_the_layers_are_those_of_a_file_as_the_options_read_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "volumes.py").write_text(
        "from torch import nn\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))\n"
    )
    model = {"type": "camtool.TorchModel", "factory": "volumes.py:build", "with_weights": True, "preprocess": {"spacing": 2.0}}
    (tmp_path / "c.py").write_text(f"model = {model!r}\n")
    np.save(tmp_path / "two.npy", np.random.default_rng(0).random((2, 12, 10, 8)))
    files: tuple[Any, ...] = ("--volume-axis", 0, "--volume", 1, "--spacing", 2, 2, 4)

    for command in (("vis", "two.npy", "c.py", "--preview-model"), ("layers", "c.py", "--image", "two.npy")):
        assert "input 1x1x12x10x16" in run(*command, *files).stdout
        refused(run(*command), "--volume-axis 0 --volume 0")
        refused(run(*command, "--frame", 1), "--frame is an option of images; ")


def test_the_frame_of_a_picture_is_previewed(config: Path, run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(tmp_path / "pages.tif", save_all=True, append_images=[Image.new("RGB", (60, 24))])

    report = json.loads(run("vis", "pages.tif", config, "--preview-model", "--frame", 1, "--json").stdout)

    assert report["layers"][0]["shape"] == [1, 2, 16, 40]
    refused(run("vis", "pages.tif", config, "--preview-model", "--frame", 2), "expected --frame 0 to 1")


def test_several_numbers_choose_a_volume_and_a_store_of_it_is_read_again(run: Run, tmp_path: Path) -> None:
    (tmp_path / "volumes.py").write_text(
        "from torch import nn\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))\n"
    )
    model = {"type": "camtool.TorchModel", "factory": "volumes.py:build", "with_weights": True, "preprocess": {}}
    (tmp_path / "c.py").write_text(f"model = {model!r}\ncam = dict(target_layers='[0]')\n")
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data/0.npy", np.random.default_rng(0).random((2, 9, 3, 8, 7)))
    files: tuple[Any, ...] = ("--volume-axis", 0, 2, "--volume", 1, 2)

    assert run("run", "c.py", "--data", "data", "--out", "store", *files, "--random-weights").exit_code == 0

    (row,) = camtool.store.open(tmp_path / "store")
    assert row.input_size == (9, 8, 7)
    evaluated = ("eval", "store", "--metrics", "deletion", "--config", "c.py", "--random-weights", "--out")
    assert run(*evaluated, "again", *files).exit_code == 0
    assert run(*evaluated, "unsaid").exit_code == 0
    refused(run(*evaluated, "other", *files[:-1], 0), "read with volume=[1, 2], --volume says [1, 0]")
