"""A map does not depend on the methods beside it, nor on rounding: alone, together and in float64 it is the same, its sign included."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.attribution.result import CAMResult
from camtool.errors import MethodError
from camtool.methods import XGradCAM, build_method, reads_layers
from tests.methods.attention.networks import PlainViT
from tests.methods.kinds import NAMES, OF_TOKENS

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

WRAPPED = ["smooth:eigencam", "integrated:layercam", "finer:hirescam", "sess:layercam"]
FORGIVING = {"opticam": 0.05}  # fifty steps of Adam, which divides small gradients by their own size
SHARE = 2e-3
"""Share of the largest value that rounding may change: scores are differences of larger numbers."""

NORMS: list[Callable[[int], nn.Module]] = [
    nn.InstanceNorm2d,  # zero sums over positions
    lambda channels: nn.GroupNorm(1, channels),
    nn.BatchNorm2d,
    lambda channels: nn.InstanceNorm2d(channels, affine=True),
]


class RandomCNN(nn.Module):
    """Two blocks; the second ends in its norm, so that signed activations can be a target layer."""

    def __init__(self, norm: Callable[[int], nn.Module], activation: type[nn.Module]) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), norm(4), activation())
        self.late = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), norm(6))
        self.tail = nn.Sequential(activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.late(self.early(images)))


def cnn(seed: int) -> tuple[nn.Module, list[str]]:
    torch.manual_seed(seed)
    return RandomCNN(NORMS[seed % len(NORMS)], (nn.ReLU, nn.GELU)[seed % 2]).eval(), ["early", "late"] if seed % 3 == 1 else ["late"]


def vit(seed: int) -> tuple[nn.Module, list[str]]:
    """Return a ViT whose layer norms are fresh: the sum over channels is zero at every position."""
    torch.manual_seed(seed)
    pooled = bool(seed % 2)
    return PlainViT(2, pooled=pooled).eval(), ["norm"] if pooled else ["blocks[-1].norm1"]


def alone(model: nn.Module, layers: list[str], name: str, inputs: Tensor) -> CAMResult | None:
    """Return a method's result; None if it refuses."""
    try:
        return CAM(model, layers if reads_layers(build_method(name)) else None, name)(inputs, 1)
    except MethodError:
        return None


def differing(results: dict[str, tuple[CAMResult, CAMResult]]) -> dict[str, float]:
    """Return by method the largest difference of two results' raw maps, as a share, where it is more than rounding."""
    found = {}
    for name, (one, other) in results.items():
        assert one.raw.keys() == other.raw.keys()
        shares = [(raw - other.raw[path]).abs().amax() / raw.abs().amax().clamp(min=1e-12) for path, raw in one.raw.items()]
        found[name] = max(float(share) for share in [*shares, (one.maps - other.maps).abs().amax()])
    return {name: share for name, share in found.items() if share > FORGIVING.get(name, SHARE)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("network", [cnn, vit])
def test_a_map_is_the_same_alone_beside_all_other_methods_and_in_float64(
    network: Callable[[int], tuple[nn.Module, list[str]]], seed: int
) -> None:
    model, layers = network(seed)
    inputs = torch.randn(2, 2, 10, 14, generator=torch.Generator().manual_seed(seed))
    names = [build_method(name).name for name in [*NAMES, *WRAPPED] if network is vit or name not in OF_TOKENS]
    results = {name: alone(model, layers, name, inputs) for name in names}
    cam = CAM(model, layers, names, skip_unfit=True)
    together = cam(inputs, 1)
    fit = {name: result for name, result in results.items() if result is not None}
    assert fit.keys() == together.keys(), cam.refused
    assert len(fit) > 25
    assert not differing({name: (result, together[name]) for name, result in fit.items()})
    double, exact = copy.deepcopy(model).double(), {}
    for name, result in fit.items():
        of_double = alone(double, layers, name, inputs.double())
        assert of_double is not None, name
        exact[name] = (result, of_double)
    assert not differing(exact)


def test_xgradcam_gives_channels_whose_sum_is_rounding_no_weight_and_says_so() -> None:
    activations = torch.tensor([[[0.3, -0.1, -0.2 + 1e-8], [1.0, 2.0, 1.0], [0.0, 0.0, 0.0]]])
    with pytest.warns(UserWarning, match=r"zero but for rounding for 1 of 3 channels here, as behind an instance norm; their weight is 0"):
        weights = XGradCAM().weights(activations, torch.ones(1, 3, 3))
    torch.testing.assert_close(weights.flatten(), torch.tensor([0.0, 1.0, 0.0]))
    with pytest.raises(MethodError, match=r"for every channel here, as behind an instance norm\. Choose a layer behind an activation"):
        XGradCAM().weights(activations[:, ::2], torch.ones(1, 2, 3))
