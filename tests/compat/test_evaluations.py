"""Others' evaluations on camtool's maps: called as Captum's and Quantus's code calls them, in one to three dimensions."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.compat import Attribution, quantus_explain_func
from camtool.errors import MethodError, TargetError

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES = {1: (12,), 2: (8, 10), 3: (6, 7, 8)}


def network(rank: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pooling = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[rank]
        layers = (CONVOLUTIONS[rank](3, 4, 3, padding=1), nn.ReLU(), pooling(1), nn.Flatten(), nn.Linear(4, 3))
        return nn.Sequential(*layers).eval()


def batch(rank: int, count: int = 3) -> Tensor:
    return torch.randn(count, 3, *SIZES[rank], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_quantus_gets_the_maps_of_a_cam_as_an_array(rank: int) -> None:
    model, inputs, targets = network(rank), batch(rank), np.array([2, 0, 1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = quantus_explain_func(model=model, inputs=inputs.numpy(), targets=targets, target_layers="[1]", device="cpu", nr_channels=3)
    assert found.shape == (3, 1, *SIZES[rank])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], CAM(model, "[1]")(inputs, [2, 0, 1]).maps.numpy())
    layer_cam = quantus_explain_func(model, inputs.double().numpy(), targets, method="layercam", target_layers="[1]")
    np.testing.assert_array_equal(layer_cam[:, 0], CAM(model, "[1]", "layercam")(inputs, [2, 0, 1]).maps.numpy())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("target", [1, torch.tensor(1), torch.tensor([1]), [1, 1, 1], torch.tensor([1, 1, 1]), np.array([1, 1, 1])])
def test_attribute_takes_targets_as_captum_does(target: object) -> None:
    model, inputs = network(2), batch(2)
    maps = Attribution(model, target_layers="[1]").attribute(inputs, target=target)
    assert torch.equal(maps[:, 0], CAM(model, "[1]")(inputs, 1).maps)


def test_without_a_target_the_predicted_class_is_explained() -> None:
    model, inputs = network(2), batch(2)
    explained = Attribution(model, target_layers="[1]")
    assert torch.equal(explained.attribute(inputs), explained.attribute(inputs, model(inputs).argmax(dim=1)))
    (of_tuple,) = explained.attribute((inputs,), target=2)
    assert torch.equal(of_tuple, explained.attribute(inputs, target=2))


def test_a_map_is_divided_among_the_channels_for_metrics_that_multiply() -> None:
    model, inputs = network(2), batch(2)
    plain = Attribution(model, target_layers="[1]").attribute(inputs, 1)
    divided = Attribution(model, target_layers="[1]", like_inputs=True).attribute(inputs, 1)
    assert divided.shape == inputs.shape
    torch.testing.assert_close(divided.sum(dim=1, keepdim=True), plain)
    assert torch.equal(divided[:, 0], divided[:, 2])
    signed = Attribution(model, target_layers="[1]", signed=True).attribute(inputs, 1)
    assert torch.equal(signed[:, 0], CAM(model, "[1]")(inputs, 1).signed())
    assert signed.min() < 0


def test_further_arguments_of_the_network_are_handed_on() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(2)

        def forward(self, inputs: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
            return self.inner(inputs) * factor[:, None] + shift[:, None]

    inputs, ones = batch(2), torch.ones(3)
    explained = Attribution(Scaled(), target_layers="inner[1]", input=0)
    flipped = explained.attribute(inputs, 1, (-ones, ones))
    plain = explained.attribute(inputs, 1, (ones, ones))
    assert torch.equal(plain[:, 0], CAM(network(2), "[1]")(inputs, 1).maps)
    assert not torch.equal(flipped, plain)


def test_bad_input_is_one_line() -> None:
    model, inputs = network(2), batch(2)
    with pytest.raises(MethodError, match="No setting 'aug_smoth' of maps; closest: 'aug_smooth'"):
        quantus_explain_func(model, inputs.numpy(), np.array([0, 1, 2]), aug_smoth=True)
    with pytest.raises(MethodError, match="Expected one tensor that maps lie over, got 2"):
        Attribution(model, target_layers="[1]").attribute((inputs, inputs), 1)
    with pytest.raises(TargetError, match="out of range"):
        Attribution(model, target_layers="[1]").attribute(inputs, 7)
    with pytest.raises(TargetError, match="one target per sample"):
        quantus_explain_func(model, inputs.numpy(), np.array([0, 1]), target_layers="[1]")
