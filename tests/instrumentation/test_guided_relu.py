"""Guided backpropagation's rule: worked by hand, against pytorch-grad-cam, and where it is not defined."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from pytorch_grad_cam import GuidedBackpropReLUModel
from torch import Tensor, nn

from camtool.errors import MethodError
from camtool.instrumentation.guided_relu import GuidedReLUs
from tests.methods.test_no_trace import assert_same, state
from tests.networks import RANKS, images, small_net


def guided_gradient(network: Callable[[Tensor], Tensor], inputs: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    leaf = inputs.clone().requires_grad_()
    with GuidedReLUs() as relus:
        scored = score(network(leaf.clone()))
    with relus.guiding():
        (gradient,) = torch.autograd.grad(scored, leaf)
    return gradient


class FunctionalReLUs(nn.Module):
    """resnet18's kin without a single nn.ReLU."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        self.relu = relu

    def forward(self, image: Tensor) -> Tensor:
        features = self.relu(self.first(image))
        features = self.relu(self.second(features) + features)
        return self.head(features.mean(dim=(2, 3)))


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda features: F.relu(features, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda features: features.relu(),
    "Tensor.relu_": lambda features: features.relu_(),
    "Tensor.clamp": lambda features: features.clamp(min=0),
    "Tensor.clamp by position": lambda features: features.clamp(0),
    "torch.clamp": lambda features: torch.clamp(features, min=0.0),
    "torch.clamp_min": lambda features: torch.clamp_min(features, 0),
    "F.threshold": lambda features: F.threshold(features, 0, 0),
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "F.relu6": F.relu6,
    "nn.Hardtanh(0, 6)": nn.Hardtanh(0, 6),
    "clamp(0, 6)": lambda features: features.clamp(0, 6),
}


@pytest.mark.parametrize("name", RELUS)
def test_every_way_to_call_a_relu_is_seen(name: str) -> None:
    inputs = images(double=True)  # no activation gets near 6
    leaf = inputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(FunctionalReLUs(SlowGuided.apply).double()(leaf)[:, 1].sum(), leaf)
    (ordinary,) = torch.autograd.grad(FunctionalReLUs(torch.relu).double()(leaf)[:, 1].sum(), leaf)
    assert not torch.allclose(expected, ordinary)
    actual = guided_gradient(FunctionalReLUs(RELUS[name]).double(), inputs, lambda logits: logits[:, 1].sum())
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


class SlowGuided(torch.autograd.Function):
    """The rule, element by element."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        return features.clamp(min=0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (features,) = ctx.saved_tensors  # type: ignore[attr-defined]
        passed = torch.zeros_like(gradient)
        for index in range(gradient.numel()):
            on = features.reshape(-1)[index].item() > 0
            value = gradient.reshape(-1)[index].item()
            passed.view(-1)[index] = value if on and value > 0 else 0.0
        return passed


def test_rule_worked_by_hand() -> None:
    # Units 2 -1 3 with gradients 1 1 -1: the second is off, the third's gradient is negative. Below, weights 4, 5, 6 of one input.
    inputs = torch.tensor([[0.5, -0.25, 0.75]], dtype=torch.float64)
    weights, signs = torch.tensor([4.0, 4.0, 4.0], dtype=torch.float64), torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    gradient = guided_gradient(lambda image: F.relu(image * weights) * signs, inputs, lambda logits: logits.sum())
    assert gradient.tolist() == [[4.0, 0.0, 0.0]]
    # Two in a row: what the upper lets through may turn negative below and is stopped there.
    gradient = guided_gradient(lambda image: F.relu(-F.relu(image) + 1), inputs, lambda logits: logits.sum())
    assert gradient.tolist() == [[0.0, 0.0, 0.0]]


def test_relu6_stops_gradients_where_it_cuts_off() -> None:
    inputs = torch.tensor([[-1.0, 2.0, 3.0, 8.0]])
    gradient = guided_gradient(F.relu6, inputs, lambda logits: (logits * torch.tensor([1.0, 1.0, -1.0, 1.0])).sum())
    assert gradient.tolist() == [[0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "densenet121"])
def test_it_equals_pytorch_grad_cam(name: str) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    image = torch.randn(1, 3, 64, 64)
    actual = guided_gradient(model, image, lambda logits: logits[0, 7])
    if name == "densenet121":  # its last ReLU is a function, which theirs does not see
        theirs = GuidedBackpropReLUModel(WithModule(model))(image.clone(), 7)
    else:
        theirs = GuidedBackpropReLUModel(model)(image.clone(), 7)
    expected = torch.from_numpy(theirs).permute(2, 0, 1)
    assert expected.abs().amax() > 0
    torch.testing.assert_close(actual[0], expected, rtol=1e-5, atol=1e-5 * expected.abs().amax().item())


class WithModule(nn.Module):
    """DenseNet with its last ReLU as a module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier, self.relu = model.features, model.classifier, nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.relu(self.features(image)).mean(dim=(2, 3)))


@pytest.mark.parametrize("rank", RANKS)
def test_a_batch_equals_singles(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, count=3, double=True)
    batch = guided_gradient(model, inputs, lambda logits: logits[:, 1].sum())
    for sample in range(3):
        single = guided_gradient(model, inputs[sample : sample + 1], lambda logits: logits[:, 1].sum())
        torch.testing.assert_close(single[0], batch[sample], rtol=1e-10, atol=1e-12)


def test_the_same_forward_pass_gives_the_ordinary_gradient_too() -> None:
    model, inputs = small_net(double=True), images(double=True)
    leaf = inputs.clone().requires_grad_()
    with GuidedReLUs() as relus:
        score = model(leaf.clone())[:, 1].sum()
    with relus.guiding():
        (guided,) = torch.autograd.grad(score, leaf, retain_graph=True)
    (ordinary,) = torch.autograd.grad(score, leaf)
    plain = inputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(plain)[:, 1].sum(), plain)
    torch.testing.assert_close(ordinary, expected)
    assert not torch.allclose(guided, ordinary)


OTHERS = [
    nn.SiLU(),
    nn.SiLU(inplace=True),
    nn.GELU(),
    nn.Hardswish(),
    nn.LeakyReLU(),
    nn.LeakyReLU(inplace=True),
    nn.ELU(),
    nn.PReLU(),
    nn.Mish(),
]


@pytest.mark.parametrize("activation", OTHERS, ids=str)
def test_other_activations_are_refused_by_name(activation: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), activation)
    name = {"LeakyReLU": "leaky_relu"}.get(type(activation).__name__, type(activation).__name__.lower())
    with pytest.raises(MethodError, match=rf"defined for networks of ReLU; this one runs {name} \(1 times\)"):
        guided_gradient(network, images(), lambda logits: logits.sum())


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Tanh(), nn.Hardsigmoid(), nn.Identity(), nn.Threshold(0.1, 0)], ids=str)
def test_a_network_without_relu_is_refused(activation: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), activation)
    with pytest.raises(MethodError, match="this one calls none, neither as module nor as function"):
        guided_gradient(network, images(), lambda logits: logits.sum())


@pytest.mark.parametrize(
    "gate", [nn.Sigmoid(), nn.Hardsigmoid(), lambda features: features.clamp(0, 1)], ids=["sigmoid", "hardsigmoid", "clamp"]
)
def test_gates_beside_relus_keep_their_own_gradient(gate: Callable[[Tensor], Tensor]) -> None:
    inputs = torch.tensor([[0.25, 0.5]])
    gradient = guided_gradient(lambda image: (1 - gate(image)).relu(), inputs, lambda logits: logits.sum())
    leaf = inputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(-gate(leaf).sum(), leaf)  # negative: a ReLU would stop it
    assert torch.equal(gradient, expected)
    assert gradient.amax() < 0


def test_nothing_is_left_in_the_model_also_after_an_exception() -> None:
    model = small_net()
    before = state(model)
    guided_gradient(model, images(), lambda logits: logits[:, 1].sum())
    assert_same(before, state(model))
    with pytest.raises(RuntimeError), GuidedReLUs():
        model(torch.zeros(2, 7, 4, 4))
    assert_same(before, state(model))
    assert not torch._C._is_torch_function_mode_enabled()
