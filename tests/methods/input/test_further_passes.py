"""Input methods that make further passes: what networks answer, and settings that do not fit."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError
from camtool.instrumentation import batching
from camtool.methods import build_method
from tests.methods.input.replicas import InputSample, occlusion_of
from tests.methods.test_contract import noise
from tests.networks import RANKS, SIZES, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence")


def plain_gradient(model: nn.Module, inputs: Tensor, index: int) -> Tensor:
    leaf = inputs.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, index].sum(), leaf)[0]


@pytest.mark.parametrize("rank", RANKS)
def test_saliency_is_the_gradient_of_plain_autograd(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    result = CAM(model, method="saliency")(inputs, 2)
    torch.testing.assert_close(result.attributions, plain_gradient(model, inputs, 2))
    torch.testing.assert_close(result.raw["input"], plain_gradient(model, inputs, 2).abs().amax(1))


@pytest.mark.parametrize("rank", RANKS)
def test_smoothgrad_is_the_mean_gradient_of_noisy_inputs(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    axes = tuple(range(1, inputs.ndim))
    scale = 0.15 * (inputs.amax(axes, keepdim=True) - inputs.amin(axes, keepdim=True))
    draws = torch.from_numpy(noise(*inputs.shape[1:]))
    expected = torch.stack([plain_gradient(model, inputs + scale * draw, 1) for draw in draws]).mean(dim=0)
    torch.testing.assert_close(CAM(model, method="smoothgrad")(inputs, 1).attributions, expected)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients_sum_to_the_score_less_the_baselines(rank: int, baseline: float) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    method = {"type": "integratedgradients", "steps": 400, "baseline": baseline}
    result = CAM(model, method=method)(inputs, [[0, 1], [2, 3]])
    with torch.no_grad():
        rise = (model(inputs) - model(torch.full_like(inputs, baseline))).gather(1, torch.tensor([[0, 1], [2, 3]]))
    torch.testing.assert_close(result.raw["input"].flatten(2).sum(2), rise, rtol=1e-2, atol=1e-3)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"patch": 3, "stride": 2},
    {"patch": 5, "stride": 4, "baseline": 0.7},
    {"patch": 4, "stride": 1, "baseline": "gaussian"},
    {"patch": 3, "stride": 2, "baseline": "mean_patch"},
    {"patch": 3, "baseline": "mean_image"},
]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_occlusion_equals_one_pass_a_patch(rank: int, settings: dict[str, Any]) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    result = CAM(model, method={"type": "occlusion", **settings})(inputs, [[0, 1], [2, 3]])
    patch = tuple(settings.get("patch") or max(length // 8, 1) for length in SIZES[rank])
    stride = tuple(settings.get("stride") or max(box // 2, 1) for box in patch)
    for sample, classes in enumerate([[0, 1], [2, 3]]):
        for k, index in enumerate(classes):

            def score(picture: np.ndarray, index: int = index) -> float:
                with torch.no_grad():
                    return float(model(torch.from_numpy(picture).unsqueeze(0))[0, index])

            given = InputSample(inputs[sample].numpy(), *[np.zeros(0)] * 4, score_of_input=score)  # type: ignore[arg-type]
            expected = occlusion_of(given, patch, stride, settings.get("baseline", 0.0))
            np.testing.assert_allclose(result.raw["input"][sample, k].numpy(), expected, rtol=1e-9, atol=1e-12)


def test_occlusion_runs_the_network_once_for_all_targets_whatever_the_number_of_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, seen = small_net(double=True), images(double=True), []
    model.register_forward_hook(lambda _, arguments, __: seen.append(len(arguments[0])))
    raws = []
    for at_once in (1, 7, 1000):
        monkeypatch.setitem(batching.AT_ONCE, "cpu", at_once)
        raws.append(CAM(model, method={"type": "occlusion", "patch": 5, "stride": 5})(inputs, [[0, 1], [2, 3]]).raw["input"])
    # The first pass of two samples, 2 x 3 patches of each, and the two passes that check the copies.
    assert sum(seen) == 3 * (2 + 2 * 6 + 2 * 3)
    torch.testing.assert_close(raws[0], raws[2])
    torch.testing.assert_close(raws[1], raws[2])


def test_occlusion_needs_no_gradient() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_net()

        @torch.no_grad()
        def forward(self, image: Tensor) -> Tensor:
            return self.inner(image)

    assert torch.equal(
        CAM(Cut(), method="occlusion")(images(), 1).raw["input"], CAM(small_net(), method="occlusion")(images(), 1).raw["input"]
    )


def test_occlusion_finds_the_only_pixel_that_counts() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(2.0 * torch.eye(16)[6])
    raw = CAM(model, method={"type": "occlusion", "patch": 1})(torch.full((1, 1, 4, 4), 3.0), 0).raw["input"]
    expected = torch.zeros(1, 4, 4)
    expected[0, 1, 2] = 6.0
    torch.testing.assert_close(raw, expected)


def test_gaussian_occlusion_takes_the_middle_of_a_patch_and_leaves_its_corners() -> None:
    # Of three pixels the outer two have the smallest share of the Gaussian, which counts as 0: only the middle is blanked. A position's
    # patches count by exp(-32 d^2 / 9) at distance d from their middles, but at least by 0.001.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
    raw = CAM(model, method="occlusion(patch=3,stride=1,baseline=gaussian)")(torch.ones(1, 1, 4), 0).raw["input"]
    side = torch.tensor(-32 / 9).exp()  # 0.0286: blanking 1 falls by 10, blanking 2 by 100
    expected = torch.stack([torch.tensor(10.0), (10 + side * 100) / (1 + side), (side * 10 + 100) / (1 + side), torch.tensor(100.0)])
    torch.testing.assert_close(raw[0], expected)


def test_a_patch_that_is_symmetrical_gives_a_flipped_input_a_flipped_map() -> None:
    model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)).double()
    inputs = images(double=True)
    for patch in (4, 5):
        cam = CAM(model, method={"type": "occlusion", "patch": patch, "stride": 1, "baseline": "gaussian"})
        torch.testing.assert_close(cam(inputs.flip(-1), 1).raw["input"], cam(inputs, 1).raw["input"].flip(-1))


def test_a_training_network_is_asked_in_eval_mode() -> None:
    # Dropout and batch statistics would change every pass.
    for name in ("occlusion", "smoothgrad", "integratedgradients"):
        plain = CAM(small_net(), method=name)(images(), 1).raw["input"]
        assert torch.equal(CAM(small_net().train(), method=name)(images(), 1).raw["input"], plain)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"type": "occlusion", "patch": 11}, r"expected a patch from 1 to \(10, 14\) for an input of \(10, 14\), got \(11, 11\)"),
        ({"type": "occlusion", "patch": 0}, "expected a patch from 1 to"),
        ({"type": "occlusion", "patch": 2, "stride": 3}, r"expected a stride from 1 to \(2, 2\)"),
        ({"type": "occlusion", "patch": (2, 2, 2)}, "expected a patch of one number, or of 2 for an input of"),
        ({"type": "occlusion", "baseline": "gausian"}, "one of gaussian, mean_patch, mean_image, got 'gausian'.*gaussian"),
        ({"type": "integratedgradients", "steps": 0}, "expected at least one step"),
        ({"type": "smoothgrad", "samples": 0}, "expected at least one sample"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        CAM(small_net(), method=build_method(settings))(images(), 1)


def test_a_refusal_leaves_the_other_methods_where_they_are_to_be_left_out() -> None:
    cam = CAM(small_net(), "late", ["gradcam", {"type": "occlusion", "patch": 99}], skip_unfit=True)
    assert list(cam(images(), 1)) == ["gradcam"]
    assert "expected a patch" in cam.refused["occlusion"]
