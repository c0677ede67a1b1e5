"""Networks whose outputs are probabilities already: said once, shown and explained as they are."""

from pathlib import Path

import pytest
import torch

from camtool import Explainer
from camtool.errors import CamtoolWarning
from tests.cli.fixtures import CAT, Run

pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")

NETWORKS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes, end):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU())
        self.head = nn.Linear(8, classes)
        nn.init.normal_(self.head.weight, std=3.0)
        self.end = end

    def forward(self, inputs):
        return self.end(self.head(self.layers(inputs).mean((2, 3))))


def softmax(): return Net(4, nn.Softmax(dim=1))
def sigmoid(): return Net(4, torch.sigmoid)
def mean_of_softmaxes(): return Net(4, lambda scores: (scores.softmax(1) + (2 * scores).softmax(1)) / 2)
def single(): return Net(1, lambda scores: torch.sigmoid(scores - 3 * scores.detach().abs()))
def logits(): return Net(4, nn.Identity())
def small_logits(): return Net(4, lambda scores: 0.5 + 0.01 * scores)
"""


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ending")
    (folder / "net.py").write_text(NETWORKS)
    for name in ("softmax", "sigmoid", "mean_of_softmaxes", "single", "logits", "small_logits"):
        preprocess = "preprocess=dict(resize=(40, 40), mean=0.5, std=0.25)"
        model = f"type='camtool.TorchModel', factory='{folder}/net.py:{name}', with_weights=True, {preprocess}"
        (folder / f"{name}.py").write_text(f"model = dict({model})\n")
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("softmax", "The network ends in Softmax; its outputs are already probabilities"),
        ("sigmoid", "The network ends in Sigmoid; its outputs are already probabilities"),
        ("mean_of_softmaxes", "The network's outputs are non-negative and sum to 1; its outputs are already probabilities"),
    ],
)
def test_probabilities_are_shown_as_the_network_gives_them_and_that_is_said_once(configs: Path, name: str, said: str) -> None:
    explainer = Explainer(configs / f"{name}.py")
    with pytest.warns(CamtoolWarning, match=said) as caught:
        explanations = explainer([CAT, CAT], batch_size=1)

    assert sum(said in str(warning.message) for warning in caught) == 1
    for explanation in explanations:
        given = explanation.answer.logits[0]
        for facts in explanation.top5:
            assert facts["probability"] == pytest.approx(float(given[facts["index"]]), abs=1e-6)
        assert explanation.to_dict()["probabilities"] == "probability"
        assert explanation.predicted == int(given.argmax())


@pytest.mark.parametrize(("name", "scale"), [("logits", "softmax"), ("small_logits", "softmax")])
def test_logits_are_logits_though_they_lie_between_0_and_1(configs: Path, name: str, scale: str) -> None:
    explanation = Explainer(configs / f"{name}.py")(CAT)

    expected = explanation.answer.logits[0].softmax(0)
    assert explanation.to_dict()["probabilities"] == scale
    assert explanation.targets[0]["probability"] == pytest.approx(float(expected.max()), abs=1e-6)


def test_the_probability_of_a_class_is_explained_as_it_is_not_its_softmax(configs: Path) -> None:
    with pytest.warns(CamtoolWarning, match="ends in Softmax"):
        explanation = Explainer(configs / "softmax.py")(CAT, target="probability")
    of_logits = Explainer(configs / "logits.py")(CAT, target="probability")

    assert explanation.target_report()["values"] == pytest.approx(of_logits.target_report()["values"], abs=1e-6)
    for found, expected in zip(explanation.results["gradcam"].raw.values(), of_logits.results["gradcam"].raw.values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)


def test_of_a_single_probability_the_likelier_of_both_classes_is_explained(configs: Path) -> None:
    with pytest.warns(CamtoolWarning, match="ends in Sigmoid"):
        explanation = Explainer(configs / "single.py")(CAT, target="binary")

    positive = float(explanation.answer.logits[0, 0])
    assert 0 < positive < 0.5  # of which the sigmoid would be above
    assert explanation.predicted == explanation.targets[0]["index"] == 0
    assert explanation.targets[0]["probability"] == pytest.approx(1 - positive, abs=1e-6)


def test_the_table_has_the_networks_own_numbers(configs: Path, run: Run) -> None:
    finished = run("vis", CAT, configs / "softmax.py")

    assert finished.exit_code == 0, finished.stderr
    assert finished.stderr.count("already probabilities") == 1
    with pytest.warns(CamtoolWarning):
        best = Explainer(configs / "softmax.py")(CAT).top5[0]["probability"]
    assert f"{100 * best:.1f} %" in finished.stdout
    assert "probability" in finished.stdout.splitlines()[0]  # the table's heading
