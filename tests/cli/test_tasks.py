"""`--output` and `--call`: networks of several tasks, and layers that are called several times."""

from pathlib import Path

import pytest

from camtool.apis import Explainer
from camtool.errors import CamtoolWarning
from tests.cli.fixtures import CAT, Run

NETWORK = """
import torch
from torch import nn


class Steps(nn.Module):
    '''One block, called twice, and a head of scores behind each call.'''

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.block = nn.Conv2d(3, 4, 3, stride=4), nn.Conv2d(4, 4, 3, padding=1)
        self.colour, self.shape = nn.Linear(4, 5), nn.Linear(4, 3)

    def forward(self, picture):
        first = self.block(self.stem(picture)).relu()
        second = self.block(first).relu()
        return {"colour": self.colour(first.mean((2, 3))), "shape": self.shape(second.mean((2, 3)))}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "steps.py").write_text(NETWORK)
    path = tmp_path / "config.py"
    path.write_text(
        "model = dict(type='camtool.TorchModel', factory='steps.py:Steps', with_weights=True, preprocess=dict(resize=32, crop=32))\n"
    )
    return str(path)


def test_the_first_output_is_explained_and_the_others_are_said(run: Run, config: str) -> None:
    finished = run("vis", CAT, config, "--target-layers", "stem")

    assert "Output: colour (others: shape)" in finished.stdout
    assert "The network returns scores of 5, 3 classes; the maps explain the first, output 'colour'" in finished.stderr


def test_an_output_is_named(run: Run, config: str) -> None:
    report = run("vis", CAT, config, "--target-layers", "block", "--output", "shape", "--json").report

    assert report["output"] == "shape"
    assert report["other_outputs"] == {"colour": [5]}
    assert len(report["top5"]) == 3
    assert report["calls"] == {"block": 1}
    assert report["sources"] == {"gradcam": "at block (call 1 of 0 to 1)"}
    (remark,) = [warning for warning in report["warnings"] if "times" in warning]
    assert "Layer 'block' is called 2 times in a forward pass; call=1 is explained" in remark
    assert run("vis", CAT, config, "--target-layers", "block", "--output", "1", "--call", "0", "--json").report["calls"] == {"block": 0}
    assert "Of several calls: block: call 0" in run("vis", CAT, config, "--target-layers", "block", "--call", "-2").stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "shap"], "No output 'shap' in what the network returns; expected one of: 'colour' (1, 5), 'shape' (1, 3)"),
        (["--target-layers", "block", "--call", "2"], "is called 2 times in a forward pass; expected call=0 to 1, or -2 to -1, got 2"),
        (["--output", "shape", "--target-category", "4"], "out of range: the network has 3 classes"),
    ],
)
def test_what_does_not_exist_is_one_line(run: Run, config: str, options: list[str], words: str) -> None:
    finished = run("vis", CAT, config, *options)

    assert finished.exit_code == 2
    assert words in " ".join(finished.stderr.split())
    assert "Traceback" not in finished.stderr


def test_a_recipe_and_a_program_name_them_too(config: str) -> None:
    recipe = {"cam.output": "shape", "cam.target_layers": "block", "cam.call": 0}
    assert Explainer(config, cfg_options=recipe)(CAT).calls == {"block": 0}
    with pytest.warns(CamtoolWarning, match="call=0 is explained"):
        explanation = Explainer(config, target_layers="block", output="colour")(CAT)
    assert (explanation.output, explanation.outputs, explanation.calls) == ("colour", {"colour": (5,), "shape": (3,)}, {"block": 0})


def test_layers_are_those_of_the_output(run: Run, config: str) -> None:
    layers = {layer["path"]: layer["usable"] for layer in run("layers", config, "--output", "colour", "--json").report["layers"]}

    assert layers == {"stem": True, "block": True, "colour": False, "shape": False}
