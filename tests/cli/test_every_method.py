"""`--method all`, and many methods in one picture."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from camtool.apis.settings import every_method
from camtool.cli import progress
from camtool.errors import MethodError
from camtool.functional import spatial_mean
from camtool.methods import GradientMethod, family, find_method, method_names
from camtool.registry import METHODS
from camtool.types import Maps, RawMap, Weights
from tests.cli.fixtures import CAT, LAST, LITE0, Finished, Run, pixels

# Of some of so many maps of a network that was never trained there is something to be said.
pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

_NETWORK = """
from torch import nn

def network(activation="ReLU"):
    act = getattr(nn, activation)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.BatchNorm2d(4), act(),
        nn.Conv2d(4, 4, 3, stride=2, padding=1), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(4, 3),
    )
"""
_CONFIG = """
model = dict(
    type="camtool.TorchModel", factory="network.py:network", kwargs=dict(activation="{}"),
    preprocess=dict(resize=32, crop=32, mean=[0.5] * 3, std=[0.25] * 3), classes=["a", "b", "c"],
)
"""
OF_ATTENTION = {"rollout", "gradrollout", "genericattention", "legrad", "agcam"}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The config of a small convolutional network, beside one with SiLU."""
    (tmp_path / "network.py").write_text(_NETWORK)
    (tmp_path / "silu.py").write_text(_CONFIG.format("SiLU"))
    (tmp_path / "small.py").write_text(_CONFIG.format("ReLU"))
    return tmp_path / "small.py"


def _all(run: Run, config: Path, *more: object) -> Finished:
    return run("vis", CAT, config, "--random-weights", "--method", "all", *more)


def test_all_draws_what_fits_and_says_why_the_others_do_not(run: Run, small: Path) -> None:
    report = _all(run, small, "--json", "--save-raw", "a.npz").report

    assert set(report["refused"]) == {*OF_ATTENTION, "cdam"}
    assert "defined for tokens" in report["refused"]["cdam"]
    assert "No attention was recorded" in report["refused"]["rollout"]
    assert {*report["methods"], *report["refused"]} == set(every_method())
    assert [path.rsplit("/", 1)[-1] for path in report["outputs"]] == ["cat_small_all.jpg", "a.npz"]
    with np.load("a.npz") as arrays:
        assert json.loads(str(arrays["meta"]))["refused"] == report["refused"]
        assert {name for name in arrays if name.startswith("map/")} == {f"map/{name}" for name in report["methods"]}


def test_each_map_of_all_is_the_one_that_its_method_gives_alone(run: Run, small: Path) -> None:
    _all(run, small, "--save-raw", "all.npz")
    for method in ("ablationcam", "fullgrad", "guidedgradcam", "scorecam", "shapleycam"):
        run("vis", CAT, small, "--random-weights", "--method", method, "--save-raw", "one.npz")
        with np.load("all.npz") as every, np.load("one.npz") as one:
            np.testing.assert_allclose(every[f"map/{method}"], one[f"map/{method}"], atol=1e-5)


def test_a_table_gives_one_reason_once(run: Run, small: Path) -> None:
    table = _all(run, small).stdout

    (line,) = [line for line in table.splitlines() if "No attention was recorded" in line]
    assert all(name in line.partition(".")[0] for name in OF_ATTENTION)


def test_where_guided_gradients_are_not_defined_the_other_methods_of_the_input_stay(run: Run, small: Path) -> None:
    report = _all(run, small.with_name("silu.py"), "--json").report

    assert "networks of ReLU" in report["refused"]["guidedbackprop"]
    assert "networks of ReLU" in report["refused"]["guidedgradcam"]
    assert "fullgrad" in report["methods"]


def test_with_eigen_smooth_all_is_what_sums_over_channels(run: Run, small: Path) -> None:
    report = _all(run, small, "--eigen-smooth", "--json").report

    assert "gradcam" in report["methods"]
    assert "not a sum over channels" in report["refused"]["reciprocam"]
    assert "fullgrad" in report["methods"]  # a sum over layers
    assert "component over channels" in report["refused"]["saliency"]


def test_all_averages_over_copies_too(run: Run, small: Path) -> None:
    report = _all(run, small, "--aug-smooth", "--json").report

    assert {"gradcam", "scorecam"} <= set(report["methods"])
    assert "cdam" in report["refused"]


@pytest.fixture
def late() -> Iterator[str]:
    """A method that refuses a picture, and not the network."""

    class Late(GradientMethod):
        """Refuses."""

        name = "late"
        paper = "none"

        def raw_map(self, evidence: object) -> RawMap:
            raise MethodError("not this picture")

        def weights(self, activations: Maps, gradients: Maps) -> Weights:
            return spatial_mean(gradients)

    METHODS.register_module(module=Late)
    yield "late"
    METHODS.module_dict.pop("Late")


def test_a_users_own_method_is_among_all_and_may_refuse(run: Run, small: Path, late: str) -> None:
    report = _all(run, small, "--json").report

    assert report["refused"]["late"] == "not this picture"
    assert "gradcam" in report["methods"]


def test_all_leaves_out_what_goes_around_others_and_nothing_else() -> None:
    left_out = set(method_names()) - set(every_method())

    assert left_out == {"finer", "integrated", "sess", "smooth"}
    assert {family(find_method(name)) for name in left_out} == {"wrapper"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--method", "all", "gradcam"],
            "'all' means every method that fits the network and cannot be combined with others; give it alone",
        ),
        (["--method", "ALL", "fem"], "give it alone"),
        (["--method", "all", "dff"], "give it alone"),
        (["--method", "al"], "Unknown method 'al'"),
        (["--method", "smooth:all"], "Unknown method 'all'"),
        (["--method", "all", "--target-layers", "head.fc"], "head.fc"),
        (["--method", "all", "--target-layers", "nonsense"], "No layer 'nonsense'"),
        (["--method", "all", "--vit-like"], "layer"),
        (["--method", "all", "--n-components", "3"], "--n-components belongs to --method dff"),
        (["--method", "all", "--target-category", "5000"], "5000"),
        (["--method", "all", "--save-path", "x.gif"], ".gif"),
        (["--method", "all", "--target-layers", LAST, "last-norm"], "give it alone"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(run: Run, tmp_path: Path, options: list[str], said: str) -> None:
    finished = run("vis", CAT, LITE0, *options)

    assert finished.exit_code == 2, finished.stderr
    assert finished.stderr.startswith("Error: ")
    assert finished.stderr.count("\n") == 1
    assert said in finished.stderr
    assert not list(tmp_path.iterdir())


def test_many_methods_of_one_class_stand_in_several_rows(run: Run, tmp_path: Path, small: Path) -> None:
    methods = [
        name for name in every_method() if family(find_method(name)) in ("gradient", "activation") and not find_method(name).needs.tokens
    ]
    assert len(methods) >= 10
    run("vis", CAT, small, "--random-weights", "--method", *methods, "--save-path", "one.png")
    run("vis", CAT, small, "--random-weights", "--method", *methods, "--top-k", "2", "--save-path", "two.png")

    for name in ("one.png", "two.png"):
        height, width = pixels(tmp_path / name).shape[:2]
        assert 0.4 < height / width < 2.5


def test_a_very_long_list_of_methods_gives_a_file_name_that_can_be_written(run: Run, small: Path) -> None:
    methods = [
        name
        for name in every_method()
        if family(find_method(name)) in ("gradient", "activation", "baseline") and not find_method(name).needs.tokens
    ]
    report = run("vis", CAT, small, "--random-weights", "--json", "--method", *methods).report

    assert report["outputs"] == [f"outputs/vis_cam/cat_{small.stem}_{len(methods)}_methods.jpg"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_alone_and_goes_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, watched in ((io.StringIO(), False), (_Terminal(), True)):
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr("rich.console.Console", lambda file: Console(file=file, force_terminal=True, width=100))
        with progress.drawn_progress() as draw:
            assert (draw is not None) == watched
            if draw is not None:
                draw("scorecam at layer4[-1]", 32, 512)
                draw("scorecam at layer4[-1]", 64, 512)
        assert ("scorecam at layer4[-1]" in stream.getvalue()) == watched
        assert ("64/512" in stream.getvalue()) == watched
        assert stream.getvalue().endswith("\x1b[2K") == watched  # the line is cleared


def test_into_a_pipe_no_progress_is_written(run: Run, small: Path) -> None:
    assert run("vis", CAT, small, "--random-weights", "--method", "scorecam", "--json").stderr == ""


def test_what_takes_more_than_a_hundred_passes_is_said_before_it_starts(run: Run, small: Path) -> None:
    finished = run("vis", CAT, small, "--random-weights", "--method", "occlusion", "gradcam")
    assert re.search(
        r"Warning: Method 'occlusion' takes about 225 forward passes for each map, .*s.* for this picture's\.", finished.stderr
    )
    assert "gradcam' takes" not in finished.stderr
