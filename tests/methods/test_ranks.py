"""Methods in one, two and three dimensions: the table of them, and that an axis of size 1 changes nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from tests.methods.kinds import NAMES, OF_ATTENTION, OF_TOKENS
from tests.methods.ranks import CLASSES, MARKERS, README, explained, lifted, network, row
from tests.networks import CONV, GAP, RANKS, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")


@pytest.mark.parametrize(("base", "rank"), [(1, 2), (2, 3)], ids=["height 1", "depth 1"])
@pytest.mark.parametrize("name", NAMES)
def test_an_axis_of_size_1_changes_no_map(name: str, base: int, rank: int) -> None:
    model, inputs = network(name, base), images(base, double=True)
    large = inputs.reshape(*inputs.shape[:2], *(1,) * (rank - base), *inputs.shape[2:])
    torch.testing.assert_close(lifted(model, rank)(large), model(inputs))  # the same network
    expected, found = (explained(name, *given, CLASSES[base]) for given in ((model, inputs), (lifted(model, rank), large)))
    assert expected.maps.amax() > 0
    for path, raw in expected.raw.items():
        np.testing.assert_allclose(found.raw[path].reshape(raw.shape), raw, rtol=1e-6, atol=1e-9 * float(raw.abs().max()))
    np.testing.assert_allclose(found.maps.reshape(expected.maps.shape), expected.maps, atol=1e-5)


WRITTEN = README.read_text(encoding="utf-8").partition(MARKERS[0])[2].partition(MARKERS[1])[0].strip().splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_the_table_of_ranks_is_what_was_computed(name: str) -> None:
    assert row(name) in WRITTEN, "write the table anew: PYTHONPATH=. python -m tests.methods.ranks"


def test_the_table_of_ranks_has_every_method_once() -> None:
    assert [line.split("`")[1] for line in WRITTEN[2:]] == list(NAMES)


class Guided(torch.autograd.Function):
    """A ReLU that passes back positive gradients only, Springenberg et al.'s rule, written out."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, inputs: Tensor) -> Tensor:
        context.save_for_backward(inputs)
        return inputs.clamp(min=0)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (inputs,) = context.saved_tensors
        return gradient * (inputs > 0) * (gradient > 0)


class WrittenOut(nn.Module):
    """A small network with a choice of ReLU."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        torch.manual_seed(rank)
        self.first, self.second = CONV[rank](2, 4, 3, padding=1), CONV[rank](4, 5, 3, stride=2, padding=1)
        self.relu, self.pool, self.head = nn.ReLU(), GAP[rank](1), nn.Linear(5, 4)
        self.guided = False

    def features(self, inputs: Tensor) -> Tensor:
        relu = Guided.apply if self.guided else self.relu
        return relu(self.second(relu(self.first(inputs))))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.pool(self.features(inputs)).flatten(1))


@pytest.mark.parametrize("rank", RANKS)
def test_guided_gradients_of_a_network_equal_the_rule_written_out(rank: int) -> None:
    model, inputs, classes = WrittenOut(rank).double().eval(), images(rank, double=True), [1, 3]
    results = CAM(model, None, ["guidedbackprop"])(inputs, classes)
    product = CAM(model, "second", ["guidedgradcam"])(inputs, classes)["guidedgradcam"]
    # By hand: the guided gradient, and Grad-CAM at the second convolution.
    model.guided = True
    leaf = inputs.clone().requires_grad_()
    score = sum(model(leaf)[sample, index] for sample, index in enumerate(classes))
    (guided,) = torch.autograd.grad(score, leaf)
    model.guided = False
    kept = model.second(model.relu(model.first(inputs))).detach().requires_grad_()
    logits = model.head(model.pool(model.relu(kept)).flatten(1))
    (gradient,) = torch.autograd.grad(sum(logits[sample, index] for sample, index in enumerate(classes)), kept)
    weights = gradient.flatten(2).mean(dim=2).view(2, -1, *[1] * rank)
    raw = (weights * kept).sum(dim=1, keepdim=True).clamp(min=0).detach()
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
    large = nn.functional.interpolate(raw, inputs.shape[2:], mode=mode)
    large = large / large.flatten(1).amax(dim=1).view(-1, *[1] * (rank + 1))
    torch.testing.assert_close(results["guidedbackprop"].attributions, guided, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(product.attributions, guided * large, rtol=1e-6, atol=1e-9)


def test_every_method_has_a_network_of_its_kind() -> None:
    assert set(OF_ATTENTION) | set(OF_TOKENS) < set(NAMES)
    assert hasattr(network("gradcam", 3), "late")
    assert type(network("rollout", 1)) is not type(small_net(1))
