"""The linear head is recognised by what it computes."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError
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
