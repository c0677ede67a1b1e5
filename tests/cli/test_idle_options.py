"""`camtool vis`: an option of drawing changes what is written, asks for what it has anyway, or is refused."""

from pathlib import Path
from typing import Any

import pytest

from camtool import Explainer
from camtool.errors import OutputError
from tests.cli.fixtures import ROOT, Run
from tests.cli.test_drawn_stores import CONFIGS

SAMPLES = {"image": "demo/cat.jpg", "volume": "demo/head.nrrd", "signal": "demo/pulses.csv"}
SMALL = {"image": "configs/torch_model/colours.py", **{kind: str(CONFIGS[kind]) for kind in ("volume", "signal")}}
OUTPUTS = [
    *(("image", where) for where in ("a.png", "a.jpg", "a/")),
    *(("volume", where) for where in ("a.png", "a.nii.gz", "a.nrrd", "a.gif", "a/")),
    *(("signal", where) for where in ("a.png", "a/")),
]
OPTIONS: dict[str, list[Any]] = {
    "--figure": ["heatmap"],
    "--colormap": ["viridis"],
    "--opacity": [0.9],
    "--original": [],
    "--caption": [],
    "--signed": [],
    "--slices": [5],
}
ANYWAY = {("volume", "--original"), ("signal", "--original"), ("volume", "--caption"), ("signal", "--caption")}
"""What the figures of these have without the option."""


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("kind", "where"), OUTPUTS)
def test_no_option_is_ignored_in_silence(run: Run, tmp_path: Path, kind: str, where: str) -> None:
    def made(name: str, *options: Any) -> tuple[Any, dict[str, bytes]]:
        folder = tmp_path / name
        folder.mkdir()
        return run("vis", ROOT / SAMPLES[kind], ROOT / SMALL[kind], "-o", f"{folder}/{where}", *options), written(folder)

    finished, plain = made("plain")
    assert finished.exit_code == 0, finished.stderr
    for option, values in OPTIONS.items():
        finished, found = made(option, option, *values)
        if finished.exit_code == 0:
            assert found != plain or (kind, option) in ANYWAY, option
        else:
            assert finished.exit_code == 2
            (line,) = finished.stderr.splitlines()
            assert line.startswith("Error: ")
            assert option in line
            assert not found


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("volume", ["-o", "a.nii.gz", "--slices", 5], "a file '.nii.gz' shows, got --slices; leave it out, or write a file '.png'."),
        (
            "volume",
            ["-o", "a.mha", "--opacity", 0.9, "--figure", "panel"],
            "got --figure, --opacity; leave them out, or write",
        ),
        ("volume", ["-o", "a.gif", "--caption"], "a file '.gif' shows, got --caption"),
        ("signal", ["-o", "a.png", "--opacity", 0.9], "got --opacity; leave it out: of this kind of input no file does."),
        ("image", ["-o", "a.png", "--figure", "heatmap", "--opacity", 0.9], "got --figure heatmap, maps alone; leave one of them out"),
        ("image", ["-o", "a.png", "--method", "dff", "--signed"], "leave out --signed"),
        ("image", ["-o", "a.png", "--method", "dff", "--figure", "heatmap"], "leave out --figure"),
    ],
)
def test_an_option_that_no_output_shows_is_refused(run: Run, kind: str, arguments: list[Any], message: str) -> None:
    finished = run("vis", ROOT / SAMPLES[kind], ROOT / SMALL[kind], *arguments)

    assert finished.exit_code == 2
    (line,) = finished.stderr.splitlines()
    assert message in line
    assert not list(Path().iterdir())


def test_what_is_shown_in_a_window_has_its_options_beside_a_volume(run: Run) -> None:
    finished = run("vis", ROOT / SAMPLES["volume"], ROOT / SMALL["volume"], "-o", "a.nii.gz", "--slices", 5, "--show")

    assert finished.exit_code == 0, finished.stderr
    assert Path("a.nii.gz").exists()


def test_calls_refuse_them_as_well(tmp_path: Path) -> None:
    explanation = Explainer(ROOT / SMALL["image"])(ROOT / SAMPLES["image"])

    with pytest.raises(OutputError, match="got --slices"):
        explanation.figure(slices=5)
    with pytest.raises(OutputError, match="got --slices"):
        explanation.save(tmp_path / "a.png", slices=5)
    assert not list(tmp_path.iterdir())
