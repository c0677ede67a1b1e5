"""DeepLIFT's rescale rule: worked out by hand, complete where it is defined, refused where it is not."""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError
from camtool.instrumentation.deep_lift import Rescaling
from camtool.methods import BaseMethod, Needs
from camtool.methods._base import Evidence
from camtool.types import RawMap
from tests.networks import CONV, GAP, images, small_vit

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


class Contributions(BaseMethod):
    """What each position contributes, as a map."""

    name = "contributions"
    paper = "none"
    needs = Needs(replay=True)

    def raw_map(self, evidence: Evidence) -> RawMap:
        return evidence.queries(self.name).contributions_from_zero().sum(1)


def contributions(function: Callable[[Tensor], Tensor], inputs: Tensor, others: Tensor) -> Tensor:
    """Return what each input contributes to the sum of the function, less that of other inputs."""
    pair = torch.stack([inputs, others]).requires_grad_()
    with Rescaling():
        outputs = function(pair)
    (gradients,) = torch.autograd.grad(outputs.sum() / 2, pair)
    return gradients.sum(0) * (inputs - others)


def test_a_relu_counts_by_how_far_it_moves() -> None:
    # relu(3 - 1) - relu(0 - 1) = 2, relu(1 - 2) - relu(-4 - 2) = 0; the gradient of the first would give 3
    inputs, others, shift = torch.tensor([3.0, 1.0]), torch.tensor([0.0, -4.0]), torch.tensor([-1.0, -2.0])
    assert contributions(lambda pair: (pair + shift).relu(), inputs, others).tolist() == [2, 0]


def test_an_input_that_does_not_move_has_the_gradient() -> None:
    # Two steps: a + b does not move, so the square behind it has its slope 2 * 3, which a carries up and b down.
    found = contributions(lambda pair: pair.sum(1).square(), torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]))
    assert found.tolist() == [-6, 6]


def test_the_greatest_gets_all_of_a_maximum() -> None:
    # Windows (5, 1) and (0, 2) against (3, 4) and (3, 1): 5 - 4 at the place of 5, 2 - 3 at the place of the other's 3.
    inputs, others = torch.tensor([[5.0, 1, 0, 2]]), torch.tensor([[3.0, 4, 3, 1]])
    assert contributions(lambda pair: F.max_pool1d(pair, 2), inputs, others).tolist() == [[1, 0, -1, 0]]


def test_a_product_of_two_activations_is_shared_by_the_mean_of_the_other() -> None:
    # 3 * 5 - 1 * 2 = 13 = (3 - 1) (5 + 2) / 2 + (5 - 2) (3 + 1) / 2
    found = contributions(lambda pair: pair[:, 0] * pair[:, 1], torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0]))
    assert found.tolist() == [7, 6]


class Rich(nn.Module):
    """Behind `features`: a residual branch, a gate, max pooling, and whatever nonlinearity is asked for."""

    def __init__(self, nonlinearity: nn.Module, rank: int = 2) -> None:
        super().__init__()
        conv = CONV[rank]
        self.features = conv(2, 4, 3, padding=1)
        self.branch = nn.Sequential(conv(4, 4, 3, padding=1), nonlinearity, conv(4, 4, 1))
        self.gate = nn.Sequential(GAP[rank](1), conv(4, 4, 1), nn.Sigmoid())
        self.pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1](2)
        self.nonlinearity = nonlinearity
        self.head = nn.Linear(4, 3)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.features(image)
        maps = maps + self.branch(maps)
        maps = self.nonlinearity(maps * self.gate(maps))
        return self.head(self.pool(maps).flatten(2).mean(2))

    def tail_of_zeros(self, image: Tensor) -> Tensor:
        """Return the logits where `features` gives zeros."""
        handle = self.features.register_forward_hook(lambda *call: torch.zeros_like(call[-1]))
        with torch.no_grad():
            logits = self(image)
        handle.remove()
        return logits


NONLINEARITIES = [
    *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.ELU(), nn.SELU(), nn.CELU(), nn.GELU()),
    *(nn.GELU("tanh"), nn.SiLU(), nn.SiLU(inplace=True), nn.Mish(), nn.Hardswish(), nn.Hardswish(inplace=True), nn.Sigmoid()),
    *(nn.Hardsigmoid(), nn.LogSigmoid(), nn.Tanh(), nn.Hardtanh(inplace=True), nn.Softplus(), nn.Softsign(), nn.Tanhshrink()),
]


@pytest.mark.parametrize(("rank", "nonlinearity"), [*itertools.product([2], NONLINEARITIES), (1, nn.ReLU()), (3, nn.ReLU())], ids=str)
def test_contributions_sum_to_the_score_less_that_of_zeros(rank: int, nonlinearity: nn.Module) -> None:
    model, inputs = Rich(nonlinearity, rank).eval(), 2 * images(rank)
    result = CAM(model, "features", Contributions())(inputs, [1, 2])
    expected = (result.logits - model.tail_of_zeros(inputs))[[0, 1], [1, 2]]
    torch.testing.assert_close(result.raw["features"].flatten(1).sum(1), expected, rtol=1e-5, atol=1e-5)


class ByMethod(Rich):
    """Uses the tensor's own methods, in place and not, and drops what they return."""

    def forward(self, image: Tensor) -> Tensor:
        maps = self.features(image)
        maps.relu_()
        maps = torch.tanh(maps) + maps.sigmoid().square()
        torch.clamp_(maps, 0.1, 0.8)
        return self.head(F.adaptive_max_pool2d(maps, 2).flatten(2).mean(2))


def test_functions_in_place_and_methods_follow_the_rule_too() -> None:
    model, inputs = ByMethod(nn.ReLU()).eval(), 2 * images()
    result = CAM(model, "features", Contributions())(inputs, [1, 2])
    expected = (result.logits - model.tail_of_zeros(inputs))[[0, 1], [1, 2]]
    torch.testing.assert_close(result.raw["features"].flatten(1).sum(1), expected, rtol=1e-5, atol=1e-5)


class LinearTail(nn.Module):
    """Behind `features` everything is linear, dropout and BatchNorm in eval mode included."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())
        self.tail = nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(72, 5))

    def forward(self, image: Tensor) -> Tensor:
        return self.tail(self.features(image))


def test_on_a_linear_tail_contributions_are_hirescams_and_liftcams_weights_xgradcams_but_for_the_sum_of_activations() -> None:
    model, inputs = LinearTail().eval().double(), images(double=True)
    results = CAM(model, "features", [Contributions(), "hirescam", "liftcam"])(inputs, [[0, 4], [1, 2]])
    torch.testing.assert_close(results["contributions"].raw["features"], results["hirescam"].raw["features"])
    activations = model.features(inputs).detach()
    for k, classes in enumerate(([0, 1], [4, 2])):
        leaf = activations.clone().requires_grad_()
        (gradients,) = torch.autograd.grad(model.tail(leaf)[[0, 1], classes].sum(), leaf)
        of_xgradcam = (gradients * activations).sum((2, 3), keepdim=True) / activations.sum((2, 3), keepdim=True)
        weights = of_xgradcam * activations.sum((2, 3), keepdim=True)
        torch.testing.assert_close(results["liftcam"].raw["features"][:, k], (weights * activations).sum(1))


@pytest.mark.parametrize(("layer", "named"), [("encoder.layers[-1].ln_1", "layer_norm"), ("encoder.layers[0].ln_1", "layer_norm")])
def test_where_the_rule_is_not_defined_the_reason_is_said(layer: str, named: str) -> None:
    with pytest.raises(MethodError, match=rf"contributions sum to .* but the score is .* not defined for what lies downstream: .*{named}"):
        CAM(small_vit(), layer, "liftcam")(images(channels=3)[..., :8, :8].repeat(1, 1, 8, 8), 1)


def test_a_score_that_is_all_bias_is_complete_but_for_its_rounding() -> None:
    model = Rich(nn.ReLU()).eval()
    with torch.no_grad():
        model.head.weight.mul_(1e-7)
    assert CAM(model, "features", Contributions())(images(), 1).raw["features"].isfinite().all()


def test_a_nonlinear_target_is_no_part_of_the_rule_and_refused() -> None:
    model = Rich(nn.ReLU()).eval()
    with pytest.raises(MethodError, match="contributions sum to"):
        CAM(model, "features", "liftcam")(images(), lambda logits: (5 * logits[1]).exp())
