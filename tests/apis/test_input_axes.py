"""Pictures for a network whose input has other axes than (n, c, h, w): a recipe's `cam.input_axes`, or the argument."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from camtool import CAM, Explainer
from camtool.apis.concepts import explain_concepts
from camtool.errors import CamtoolError
from tests.cli.fixtures import CAT, ESPRESSO, ROCKET, Run

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")  # of untrained weights

NETWORK = """
import torch
from torch import nn


class Pooled(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.order = order
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, picture, prior=0):
        picture = picture.permute(self.order).contiguous()
        assert picture.shape[1] == 3
        return self.head(self.features(picture).mean(dim=(2, 3))) + prior
"""
ORDERS = {"nchw": (0, 1, 2, 3), "nhwc": (0, 3, 1, 2), "hwnc": (2, 3, 0, 1)}

Write = Callable[..., str]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a recipe of the network with its input's axes, and return its path."""
    (tmp_path / "network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "network", raising=False)

    def write(letters: str, cam: str = "dict()", **options: Any) -> str:
        model = {"type": "camtool.TorchModel", "factory": "network:Pooled", "kwargs": {"order": ORDERS[letters]}, **options}
        path = tmp_path / f"{letters}.py"
        path.write_text(f"model = {model | {'preprocess': {'resize': 24, 'crop': [24, 20]}}!r}\ncam = {cam}\n")
        return str(path)

    return write


@pytest.mark.parametrize("letters", ["nhwc", "hwnc"])
@pytest.mark.parametrize("options", [{}, {"inputs": {"picture": "picture", "prior": [0.0, 0.5, 0.0]}}], ids=["alone", "beside"])
def test_pictures_reach_the_network_with_its_own_axes(recipe: Write, letters: str, options: dict[str, Any]) -> None:
    methods = ["gradcam", "scorecam", "guidedbackprop"]
    plain = Explainer(recipe("nchw", **options), random_weights=True, method=methods)
    explainer = Explainer(recipe(letters, f"dict(input_axes={letters!r})", **options), random_weights=True, method=methods)
    for arguments in ({"categories": [2, 0]}, {"target_image": ROCKET}):
        for answer, expected in zip(explainer([CAT, ESPRESSO], **arguments), plain([CAT, ESPRESSO], **arguments), strict=True):
            assert answer.inputs.shape == (1, 3, 24, 20)
            for name in methods:
                assert torch.equal(answer.results[name].maps, expected.results[name].maps)
    concepts, others = explain_concepts(explainer, CAT, n_components=2).concepts, explain_concepts(plain, CAT, n_components=2).concepts
    assert torch.equal(concepts.maps, others.maps)


def test_an_argument_is_stronger_than_the_recipe(recipe: Write) -> None:
    path = recipe("hwnc", "dict(input_axes='nhwc')")
    explainer = Explainer(path, random_weights=True, input_axes="hwnc")
    assert explainer.cam.input_axes == "hwnc"
    assert explainer(CAT).results["gradcam"].maps.shape == (1, 1, 24, 20)
    with pytest.raises(CamtoolError, match="got 'hwc': no axis is the batch, n"):
        Explainer(path, random_weights=True, input_axes="hwc")


def test_another_explainer_of_the_same_network_keeps_its_own_axes(recipe: Write) -> None:
    network = Explainer(recipe("nhwc"), random_weights=True).network
    tensor = torch.rand(1, 24, 20, 3)
    assert Explainer(network, input_axes="nhwc").cam(tensor, 1)["gradcam"].maps.shape == (1, 24, 20)
    assert Explainer(network).cam.input_axes is None
    assert CAM(network.model, input_axes="nhwc")(tensor, 1).maps.shape == (1, 24, 20)


def test_layers_are_listed_for_a_network_with_its_own_axes(recipe: Write, run: Run) -> None:
    listed = run("layers", recipe("nhwc", "dict(input_axes='nhwc')"), "--random-weights", "--json").report
    assert listed["default"] == "features"
    assert next(layer for layer in listed["layers"] if layer["path"] == "features[0]")["shape"] == [1, 16, 11, 9]
