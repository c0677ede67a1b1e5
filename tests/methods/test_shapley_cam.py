"""ShapleyCAM: the second derivative is the network's own, and where there is none it is Grad-CAM."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from tests.networks import RANKS, SmallNet, images, small_net, small_vit


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_behind_relus_with_a_logit_as_target_it_equals_gradcam(rank: int) -> None:
    results = CAM(small_net(rank), "early", ["shapleycam", "gradcam"])(images(rank), [[0, 1], [2, 3]])
    assert torch.equal(results["shapleycam"].raw["early"], results["gradcam"].raw["early"])


class Square(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values**2


def curved(tail: nn.Module) -> SmallNet:
    model = small_net(double=True)
    model.late[2] = tail
    return model


@pytest.mark.parametrize("tail", [nn.GELU(), Square(), nn.SiLU()])
def test_behind_a_curved_tail_it_has_the_hessian_of_autograd(tail: nn.Module) -> None:
    model, inputs = curved(tail), images(double=True)
    activations = model.early(inputs).detach()

    def score(values: Tensor) -> Tensor:
        return model.fc(model.pool(model.late(values)).flatten(1))[[0, 1], [1, 3]].sum()

    gradients = torch.autograd.functional.jacobian(score, activations)
    _, product = torch.autograd.functional.hvp(score, activations, activations)
    assert product.abs().amax() > 0.1 * gradients.abs().amax()

    results = CAM(model, "early", ["shapleycam", "gradcam"])(inputs, [1, 3])

    expected = ((gradients - product / 2).mean((2, 3), keepdim=True) * activations).sum(1)
    torch.testing.assert_close(results["shapleycam"].raw["early"].double(), expected, rtol=1e-5, atol=1e-7)
    of_gradients = (gradients.mean((2, 3), keepdim=True) * activations).sum(1)
    torch.testing.assert_close(results["gradcam"].raw["early"].double(), of_gradients, rtol=1e-5, atol=1e-7)


def test_on_a_square_the_weights_are_worked_out_by_hand() -> None:
    # score = sum A^2: g = 2 A, H A = 2 A, so g - H A / 2 = A, and each channel is weighted with its mean.
    class Energy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, image: Tensor) -> Tensor:
            return self.layer(image).square().sum((1, 2, 3), keepdim=True).flatten(1)

    image = torch.tensor([[[[1.0, 3.0], [2.0, 6.0]], [[0.0, 4.0], [0.0, 0.0]]]])
    raw = CAM(Energy(), "layer", "shapleycam")(image, 0).raw["layer"]
    assert raw.tolist() == [[[3.0, 13.0], [6.0, 18.0]]]


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_the_class_of_a_transformer_is_explained_through_fused_attention() -> None:
    model, inputs = small_vit().double(), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    layer = "encoder.layers[1].ln_1"  # two blocks of attention and GELU behind it
    results = CAM(model, layer, ["shapleycam", "gradcam"])(inputs, [1, 5])
    (ours,), (plain,) = results["shapleycam"].raw.values(), results["gradcam"].raw.values()
    assert not torch.allclose(ours, plain, rtol=1e-2)

    kept: list[Tensor] = []
    handle = model.encoder.layers[1].ln_1.register_forward_hook(lambda *call: kept.append(call[-1]))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        score = model(inputs.requires_grad_())[[0, 1], [1, 5]].sum()
        (gradients,) = torch.autograd.grad(score, kept, create_graph=True)
        (product,) = torch.autograd.grad(gradients, kept, kept[0].detach())
    handle.remove()
    weights = (gradients - product / 2).detach()[:, 1:].mean(1, keepdim=True)
    expected = (weights * kept[0].detach()[:, 1:]).sum(2).unflatten(1, (4, 4))
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-7)
