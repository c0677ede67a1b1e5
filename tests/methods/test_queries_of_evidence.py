"""Evidence of other pictures: noise that is the same for all, and a gradient that may be dead somewhere but not everywhere."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import LayerError, MethodError
from camtool.methods import build_method
from camtool.methods._base import BaseMethod, Evidence
from camtool.methods._noise import Noise
from camtool.types import RawMap
from tests.networks import images, small_net


def test_noise_is_a_share_of_each_samples_range() -> None:
    inputs = images(count=2)
    inputs[1] = 10 * inputs[1]
    copies = Noise("any", samples=200, sigma=0.3, seed=0).copies(inputs)
    for sample in range(2):
        spread = inputs[sample].amax() - inputs[sample].amin()
        deviation = torch.stack([copy[sample] - inputs[sample] for copy in copies]).std()
        assert deviation / spread == pytest.approx(0.3, rel=0.02)


def test_noise_of_a_copy_depends_on_neither_batch_nor_number_of_copies() -> None:
    inputs = images(count=3)
    batch = Noise("any", samples=4, sigma=0.3, seed=1).copies(inputs)
    single = Noise("any", samples=2, sigma=0.3, seed=1).copies(inputs[2:])
    assert torch.equal(single[1][0], batch[1][2])
    other = Noise("any", samples=2, sigma=0.3, seed=2).copies(inputs[2:])
    assert not torch.allclose(single[1], other[1])


@pytest.mark.parametrize("arguments", [{"samples": 0}, {"sigma": -0.1}])
def test_noise_that_cannot_be_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(MethodError, match="at least one sample and a sigma of 0 or more"):
        build_method({"type": "smoothgradcam++", **arguments})


def test_without_noise_smoothgradcam_plus_plus_is_gradcam_plus_plus() -> None:
    still = {"type": "smoothgradcam++", "sigma": 0.0, "samples": 2}
    results = CAM(small_net(), "early", [still, "gradcam++"])(images(), [[0, 1], [2, 3]])
    torch.testing.assert_close(results["smoothgradcam++"].raw["early"], results["gradcam++"].raw["early"])


class Gated(nn.Module):
    """Its score has a gradient where the picture's sum is positive only."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        open_gate = (image.sum((1, 2, 3)) > 0).to(image.dtype)
        return open_gate.unsqueeze(1) * self.layer(image).mean((2, 3))


class Elsewhere(BaseMethod):
    """Asks for the evidence of shifted pictures."""

    name = "elsewhere"
    paper = "none"

    def __init__(self, *shifts: float) -> None:
        self.shifts = shifts

    def raw_map(self, evidence: Evidence) -> RawMap:
        queries = evidence.queries(self.name)
        gradients = [one.gradients for one in queries.evidence_of([queries.inputs + shift for shift in self.shifts])]
        return torch.stack([one.abs().sum(1) for one in gradients if one is not None]).sum(0)


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")  # the gradient of a mean is flat
def test_a_gradient_of_zero_at_some_of_the_pictures_is_no_error_and_at_all_of_them_it_is() -> None:
    model, inputs = Gated(), images()
    alone = CAM(model, "layer", Elsewhere(9.0))(inputs, 1).raw["layer"]
    assert (alone > 0).all()
    assert torch.equal(CAM(model, "layer", Elsewhere(-9.0, 9.0))(inputs, 1).raw["layer"], alone)
    with pytest.raises(LayerError, match="a gradient of exactly zero"):
        CAM(model, "layer", Elsewhere(-9.0, -10.0))(inputs, 1)
