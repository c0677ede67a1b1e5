"""The linear head is recognised by what it computes."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolWarning, MethodError
from camtool.instrumentation.linear_head import find_linear_head
from tests.networks import CONV, RANKS, images, small_net


def evidence(model: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    activations = torch.rand(2, 6, 4, 4, dtype=dtype)
    return activations, model(activations.mean((2, 3))).detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_that_computes_the_logits_is_found_with_its_bias(bias: bool, dtype: torch.dtype) -> None:
    fc = nn.Linear(6, 3, bias=bias).to(dtype)
    activations, logits = evidence(fc, dtype)
    head = find_linear_head(nn.Sequential(nn.Linear(6, 3).to(dtype), fc), activations, logits)
    assert torch.equal(head.weight, fc.weight.detach())
    assert torch.equal(head.bias, fc.bias.detach() if bias else torch.zeros(3, dtype=dtype))


@pytest.mark.parametrize("rank", RANKS)
def test_a_convolution_of_one_position_is_a_linear_layer(rank: int) -> None:
    conv = CONV[rank](6, 3, 1)
    activations = torch.rand(2, 6, *(4,) * rank)
    logits = conv(activations).flatten(2).mean(2).detach()
    head = find_linear_head(conv, activations, logits)
    torch.testing.assert_close(head.weight, conv.weight.detach().flatten(1))


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(6, 3), nn.Conv2d(6, 3, 3), nn.Conv2d(6, 3, 1, groups=3), nn.Linear(5, 3), nn.Linear(6, 4)],
    ids=["other weights", "3x3", "grouped", "other channels", "other classes"],
)
def test_a_layer_that_computes_something_else_is_not_believed(layer: nn.Module) -> None:
    activations, logits = evidence(nn.Linear(6, 3))
    with pytest.raises(MethodError, match=r"global average pooling and one linear layer.*'gradcam'"):
        find_linear_head(layer, activations, logits)


def test_one_sample_that_disagrees_is_enough_to_disbelieve() -> None:
    fc = nn.Linear(6, 3)
    activations, logits = evidence(fc)
    logits[1, 2] += 0.1
    with pytest.raises(MethodError):
        find_linear_head(fc, activations, logits)


def test_cam_at_a_layer_that_is_not_pooled_is_refused() -> None:
    with pytest.raises(MethodError, match="the layer that is pooled"):
        CAM(small_net(), "early", "cam")(images(), 1)


def test_cam_behind_max_pooling_or_two_layers_is_refused() -> None:
    model = small_net()
    model.pool = nn.AdaptiveMaxPool2d(1)
    with pytest.raises(MethodError):
        CAM(model, "late", "cam")(images(), 1)
    model = small_net()
    model.fc = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))
    with pytest.raises(MethodError):
        CAM(model, "late", "cam")(images(), 1)


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_cam_of_a_contrast_uses_the_contrast_of_the_weights() -> None:
    model = small_net()
    result = CAM(model, "late", "cam")(images(), [[0, 1, lambda logits: 2 * logits[0] - logits[1]]] * 2)
    raw = result.raw["late"]
    torch.testing.assert_close(raw[:, 2], 2 * raw[:, 0] - raw[:, 1])


class Normed(nn.Module):
    """Global average pooling, a norm, and a linear layer: what ConvNeXt's head is; beside it a layer of the same shape."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        torch.manual_seed(rank)
        self.features = nn.Sequential(CONV[rank](2, 5, 3, padding=1), nn.ReLU())
        self.head = nn.ModuleDict({"norm": nn.LayerNorm(5), "fc": nn.Linear(5, 4), "other": nn.Linear(5, 4), "narrow": nn.Linear(4, 4)})

    def forward(self, image: Tensor) -> Tensor:
        return self.head["fc"](self.head["norm"](self.features(image).flatten(2).mean(2)))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.filterwarnings("ignore:.*no positive evidence")
@pytest.mark.parametrize("name", ["fc", "other"])
def test_the_weights_of_a_named_layer_are_used(rank: int, name: str) -> None:
    model, inputs = Normed(rank).double(), images(rank, double=True)
    with pytest.raises(MethodError, match=r"or name the linear layer whose weights you mean: 'cam\(classifier=PATH\)'"):
        CAM(model, "features", "cam")(inputs, [1, 2])
    named = f"cam(classifier=head.{name})"
    with pytest.warns(CamtoolWarning, match=rf"the weights of 'head.{name}' are used as asked, but .* something lies between"):
        results = CAM(model, "features", [named, f"smooth(samples=2,sigma=0.0):{named}"])(inputs, [1, 2])
    with torch.no_grad():
        activations, weight = model.features(inputs), model.head[name].weight
    for sample, category in enumerate([1, 2]):
        expected = sum(weight[category, channel].detach() * activations[sample, channel] for channel in range(5))
        for result in results.values():
            torch.testing.assert_close(result.raw["features"][sample], expected)


@pytest.mark.filterwarnings("ignore:.*no positive evidence")
@pytest.mark.parametrize("rank", RANKS)
def test_naming_the_layer_that_is_found_changes_nothing_and_says_nothing(rank: int) -> None:
    model, inputs = small_net(rank), images(rank)
    paths = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    results = [CAM(model, "late", method)(inputs, 2).raw["late"] for method in ("cam", f"cam(classifier={paths[-1]})")]
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("head.norm", r"a linear layer or a 1x1 convolution, got 'head.norm', LayerNorm\."),
        ("head.narrow", r"from the target layer's 5 channels to the 4 scores, got 'head.narrow', from 4 to 4\."),
        ("head.fd", "No layer 'head.fd'; closest: 'head.fc'"),
        ("features[0]", r"got 'features\[0\]', Conv2d\."),
    ],
)
def test_a_named_layer_that_does_not_fit_is_refused_in_a_line(path: str, words: str) -> None:
    with pytest.raises(MethodError, match=words) as caught:
        CAM(Normed(2), "features", {"type": "cam", "classifier": path})(images(), 1)
    assert "\n" not in str(caught.value)
