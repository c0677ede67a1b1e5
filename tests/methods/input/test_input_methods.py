"""What every method of the input must satisfy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import FullGrad as TheirFullGrad
from pytorch_grad_cam import GuidedBackpropReLUModel
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolWarning, MethodError
from camtool.functional import over_maximum, resize
from camtool.methods import FullGrad, InputMethod, build_method
from camtool.methods.input._base import InputEvidence
from tests.methods.input.replicas import ATTRIBUTIONS, INPUT_REPLICAS, InputSample, full_grad_smoothed
from tests.methods.kinds import OF_INPUT, OF_INPUT_GRADIENTS
from tests.methods.queries import ByHand, Formula, gradient_of_input, score_of_input
from tests.methods.test_contract import noise
from tests.methods.test_no_trace import assert_same, inference, plain, requiring_grad, state, worn_net
from tests.networks import RANKS, SIZES, images, small_net

# Said of some maps of the seeded networks; what is said is tested in tests/attribution/test_cam.py.
pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence")

TIGHT = {"rtol": 1e-9, "atol": 1e-12}


def built(name: str) -> InputMethod:
    method = build_method(name)
    assert isinstance(method, InputMethod)
    return method


def evidence(rank: int) -> tuple[InputEvidence, list[InputSample]]:
    generator = torch.Generator().manual_seed(rank)
    grid = {1: (9,), 2: (6, 8), 3: (4, 6, 2)}[rank]
    coarse = tuple(cells // 2 for cells in grid)

    def drawn(channels: int, size: tuple[int, ...]) -> Tensor:
        return torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)

    inputs, gradients, guided = (drawn(3, grid) for _ in range(3))
    terms = [drawn(2, grid), drawn(4, coarse), drawn(2, (1,) * rank)]
    maps = drawn(1, grid).sigmoid()[:, 0]
    samples = [
        InputSample(
            inputs[k].numpy(),
            gradients[k].numpy(),
            [term[k].numpy() for term in terms],
            guided[k].numpy(),
            maps[k].numpy(),
            score_of_input,
            gradient_of_input,
            noise(*inputs.shape[1:]),
        )
        for k in range(2)
    ]
    queries = Formula(inputs, inputs, gradients, torch.ones(2, 3))
    return InputEvidence(inputs, gradients, terms, guided, maps, model_queries=queries), samples


def test_every_method_has_a_replica_and_a_hand_worked_example() -> None:
    assert set(OF_INPUT) == set(INPUT_REPLICAS) == set(EXPECTED)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", OF_INPUT)
def test_maps_equal_the_replica(name: str, rank: int) -> None:
    given, samples = evidence(rank)
    method = built(name)
    np.testing.assert_allclose(method.raw_map(given).numpy(), np.stack([INPUT_REPLICAS[name](sample) for sample in samples]), **TIGHT)
    attributions = method.attributions(given)
    assert (attributions is None) is (name not in ATTRIBUTIONS)
    if attributions is not None:
        np.testing.assert_allclose(attributions.numpy(), np.stack([ATTRIBUTIONS[name](sample) for sample in samples]), **TIGHT)


# Two channels of a 2x2 input, with their gradients; one biased layer at 1x2, its bias 2 with gradients 1 and -3; the guided gradient is
# the gradient's positive part; the map is 1 0.5 / 0 1.
HAND = InputEvidence(
    inputs=torch.tensor([[[[1.0, 2.0], [3.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]]], dtype=torch.float64),
    gradients=torch.tensor([[[[2.0, -2.0], [0.0, 5.0]], [[1.0, -4.0], [2.0, 0.0]]]], dtype=torch.float64),
    bias_terms=[torch.tensor([[[[2.0, -6.0], [2.0, -6.0]]]], dtype=torch.float64)],
    guided=torch.tensor([[[[2.0, 0.0], [0.0, 5.0]], [[1.0, 0.0], [2.0, -3.0]]]], dtype=torch.float64),
    map=torch.tensor([[[1.0, 0.5], [0.0, 1.0]]], dtype=torch.float64),
)
# Other inputs' scores are the sums of the first channel times 1 2 / 3 4, and every channel's gradient is these.
QUERIED = replace(HAND, model_queries=ByHand(HAND.inputs, HAND.inputs, HAND.inputs, torch.ones(1, 2)))
ARGUMENTS: dict[str, dict[str, Any]] = {"occlusion": {"patch": (1, 2), "stride": 1}}
EXPECTED = {
    # |x g| = 2 4 / 0 0, over 4: 0.5 1 / 0 0;  |x g| = 0 4 / 2 0, over 4: 0 1 / 0.5 0;  |b g| = 2 6 / 2 6, min-max: 0 1 / 0 1
    "fullgrad": [[0.5, 3.0], [0.5, 1.0]],
    "guidedbackprop": [[2.0, 0.0], [2.0, 5.0]],
    "guidedgradcam": [[2.0, 0.0], [0.0, 5.0]],
    # x g = 1 4 / 9 0 and 0 2 / 3 4, whatever the point on the way
    "integratedgradients": [[1.0, 6.0], [12.0, 4.0]],
    # the score is 1 + 4 + 9; without the first row 5 less, without the second 9 less
    "occlusion": [[5.0, 5.0], [9.0, 9.0]],
    "saliency": [[2.0, 4.0], [2.0, 5.0]],
    "smoothgrad": [[1.0, 2.0], [3.0, 4.0]],
}


@pytest.mark.parametrize("name", OF_INPUT)
def test_raw_map_equals_the_hand_worked_example(name: str) -> None:
    method = build_method({"type": name, **ARGUMENTS.get(name, {})})
    torch.testing.assert_close(method.raw_map(QUERIED)[0], torch.tensor(EXPECTED[name], dtype=torch.float64), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", OF_INPUT)
def test_maps_have_the_inputs_size_and_a_batch_equals_singles(name: str, rank: int) -> None:
    model, inputs = small_net(rank), images(rank, count=3)
    cam = CAM(model, method=name)
    batch = cam(inputs, 1)
    assert batch.maps.shape == batch.raw["input"].shape == (3, *SIZES[rank])
    assert batch.maps.amin() >= 0
    assert batch.maps.amax() <= 1
    assert batch.source.startswith("at the input")
    for sample in range(3):
        single = cam(inputs[sample : sample + 1], 1)
        atol = 5e-5 if name == "occlusion" else 1e-5  # it takes differences of nearly equal scores
        torch.testing.assert_close(single.maps[0], batch.maps[sample], rtol=1e-4, atol=atol)
        torch.testing.assert_close(single.raw["input"][0], batch.raw["input"][sample], rtol=1e-4, atol=1e-5)
        if batch.attributions is not None:
            assert batch.attributions.shape == inputs.shape
            torch.testing.assert_close(single.attributions[0], batch.attributions[sample], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [plain, requiring_grad, inference])
@pytest.mark.parametrize("aug_smooth", [False, True])
@pytest.mark.parametrize("name", OF_INPUT)
def test_a_call_leaves_no_trace(name: str, aug_smooth: bool, make: Any) -> None:
    model, inputs = worn_net(), make()
    before, values, needs_grad = state(model), inputs.detach().clone(), inputs.requires_grad
    result = CAM(model, method=name, aug_smooth=aug_smooth)(inputs, 1)
    assert_same(before, state(model))
    assert torch.equal(inputs, values)
    assert inputs.requires_grad == needs_grad
    assert inputs.grad is None
    for tensor in (result.maps, result.logits, result.raw["input"], result.attributions):
        assert tensor is None or not tensor.requires_grad


@pytest.mark.parametrize("name", OF_INPUT)
def test_an_exception_of_the_networks_leaves_no_trace(name: str) -> None:
    model = worn_net()
    before = state(model)
    with pytest.raises(RuntimeError):
        CAM(model, "early", [name, "gradcam"])(torch.zeros(2, 7, 8, 8), 1)
    assert_same(before, state(model))
    assert not torch._C._is_torch_function_mode_enabled()


def test_all_share_one_forward_pass_with_methods_of_layers_and_change_nothing_of_theirs() -> None:
    model, inputs = small_net(), images()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    names = ["gradcam", "eigencam", *OF_INPUT_GRADIENTS]
    together = CAM(model, "early", names)(inputs, [[0, 1], [2, 3]])
    assert len(calls) == 1
    for name in names:
        reads = name in ("gradcam", "eigencam", "guidedgradcam")
        alone = CAM(model, "early" if reads else None, name)(inputs, [[0, 1], [2, 3]])
        torch.testing.assert_close(together[name].maps, alone.maps)
        for k in range(2):
            single = CAM(model, "early" if reads else None, name)(inputs, [k, 2 + k])
            torch.testing.assert_close(together[name].maps[:, k], single.maps)
            if single.attributions is not None:
                torch.testing.assert_close(together[name].attributions[:, k], single.attributions)


def test_guided_gradcam_is_the_product_of_the_two_and_returns_only_itself() -> None:
    model, inputs = small_net(), images()
    results = CAM(model, "late", ["gradcam", "guidedbackprop", "guidedgradcam"])(inputs, [1, 2])
    factor = resize(results["gradcam"].raw["late"].clamp(min=0), inputs.shape[2:])
    product = results["guidedbackprop"].attributions * over_maximum(factor).unsqueeze(1)
    torch.testing.assert_close(results["guidedgradcam"].attributions, product)
    assert results["guidedgradcam"].source == "at the input, times gradcam at late"
    assert results["guidedgradcam"].layers == ["late"]
    assert results["guidedbackprop"].layers == []
    assert list(CAM(model, "late", ["guided-gradcam"])(inputs, 1)) == ["guidedgradcam"]


@pytest.mark.parametrize("layers", [["[0]"], ["[0]", "[1]"]])
@pytest.mark.parametrize("fuse", ["mean", "product", "max", "refined", "winsorized"])
def test_guided_gradcam_keeps_the_evidence_of_the_lowest_cell(fuse: str, layers: list[str]) -> None:
    # The raw map is relu(x) / 4, at both layers: 1 of the lowest cell, of 2 3 4, is a quarter of the maximum, not zero.
    model = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    result = CAM(model, layers, "guidedgradcam", fuse=fuse)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 0)
    factor = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) / 4
    if fuse == "product":
        factor = factor ** len(layers)
    torch.testing.assert_close(result.raw["input"][0], factor / 4)  # the score's gradient is 1 / 4


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    nn.init.normal_(model.fc.weight, std=1e3)  # large gradients: the peer dims terms of small ones
    return model


def test_fullgrad_equals_pytorch_grad_cam(resnet: nn.Module) -> None:
    inputs = torch.randn(2, 3, 64, 96)
    with TheirFullGrad(resnet, []) as theirs:
        expected = theirs(inputs.clone(), [ClassifierOutputTarget(3), ClassifierOutputTarget(8)])
    ours = CAM(resnet, method="fullgrad")(inputs, [3, 8])
    np.testing.assert_allclose(ours.maps.numpy(), expected, atol=1e-5)


def test_guided_backprop_equals_pytorch_grad_cam(resnet: nn.Module) -> None:
    inputs = torch.randn(1, 3, 64, 96)
    ours = CAM(resnet, method="guided-backprop")(inputs, 8)
    expected = GuidedBackpropReLUModel(resnet)(inputs.clone(), 8).transpose(2, 0, 1)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(ours.attributions[0].numpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_fullgrad_says_where_its_terms_do_not_sum_to_the_score() -> None:
    model, inputs = small_net(), images()
    CAM(model, method="fullgrad")(inputs, 1)  # warnings are errors
    with pytest.warns(CamtoolWarning, match=r"bias terms sum to .*, the score is"):
        CAM(model, method="fullgrad")(inputs, lambda logits: logits.softmax(dim=0)[1])
    model.late[2] = nn.GELU()
    with pytest.warns(CamtoolWarning, match=r"bias terms sum to .*, the score is"):
        CAM(model, method="fullgrad")(inputs, 1)


@pytest.mark.parametrize("name", [name for name in OF_INPUT if name != "occlusion"])
def test_a_network_without_gradient_at_the_input_is_refused(name: str) -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_net()

        def forward(self, image: Tensor) -> Tensor:
            with torch.no_grad():
                features = self.inner.early(image).relu()
            return self.inner.fc(self.inner.pool(self.inner.late(features)).flatten(1))

    with pytest.raises(MethodError, match="gradient"):
        CAM(Cut(), None if name != "guidedgradcam" else "inner.late", name)(images(), 1)


@pytest.mark.parametrize("name", ["guidedbackprop", "guidedgradcam"])
def test_networks_of_other_activations_are_refused(name: str) -> None:
    model = small_net()
    model.early[2] = nn.SiLU()
    with pytest.raises(MethodError, match="this one runs silu"):
        CAM(model, method=name)(images(), 1)


@pytest.mark.parametrize("rank", RANKS)
def test_fullgrad_with_eigen_smooth_is_the_first_component_over_layers(rank: int) -> None:
    given, samples = evidence(rank)
    smoothed = built("fullgrad").eigen_smooth_map(given).numpy()
    np.testing.assert_allclose(smoothed, np.stack([full_grad_smoothed(sample) for sample in samples]), **TIGHT)


def test_fullgrad_with_eigen_smooth_by_hand() -> None:
    # |x g| = 0 2 / 4 2 and |b g| = 0 1 / 2 1 are both scaled to p = 0 0.5 / 1 0.5, less its mean -0.5 0 / 0.5 0;
    # projected on (1, 1) / sqrt 2.
    given = InputEvidence(
        torch.tensor([[[[0.0, 1.0], [2.0, -1.0]]]]), torch.full((1, 1, 2, 2), 2.0), [torch.tensor([[[[0.0, -1.0], [2.0, 1.0]]]])]
    )
    expected = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]]) * 2**0.5
    torch.testing.assert_close(built("fullgrad").eigen_smooth_map(given), expected)


@pytest.mark.parametrize("rank", RANKS)
def test_the_engine_smooths_fullgrad_beside_methods_of_layers(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, kept = small_net(rank, double=True), images(rank, double=True), []
    contributions = FullGrad.contributions

    def keep(method: FullGrad, given: InputEvidence) -> Tensor:
        kept.append(contributions(method, given))
        return kept[-1]

    monkeypatch.setattr(FullGrad, "contributions", keep)
    results = CAM(model, "early", ["gradcam", "fullgrad"], eigen_smooth=True)(inputs, [1, 2])
    assert (kept[0].shape[0], *kept[0].shape[2:]) == (2, *SIZES[rank])
    for sample in range(2):
        centred = kept[0][sample].flatten(1) - kept[0][sample].flatten(1).mean(dim=1, keepdim=True)
        projection = torch.linalg.svd(centred, full_matrices=False)[2][0] * torch.linalg.svdvals(centred)[0]
        projection = projection * (projection @ centred.sum(dim=0)).sign()
        torch.testing.assert_close(results["fullgrad"].raw["input"][sample].flatten(), projection)
    plain = CAM(model, method="fullgrad")(inputs, [1, 2])
    torch.testing.assert_close(plain.raw["input"], kept[-1].sum(dim=1))
    alone = CAM(model, "early", "gradcam", eigen_smooth=True)(inputs, [1, 2])
    torch.testing.assert_close(results["gradcam"].raw["early"], alone.raw["early"])


def test_eigen_smooth_and_target_layers_alone_are_refused() -> None:
    for name in sorted(set(OF_INPUT) - {"fullgrad"}):  # fullgrad is a sum, over layers
        with pytest.raises(MethodError, match=f"'{name}' has none"):
            CAM(small_net(), method=["fullgrad", name], eigen_smooth=True)
    with pytest.raises(MethodError, match="'fullgrad' reads the input and no target layer"):
        CAM(small_net(), "late", "fullgrad")


def test_aug_smooth_takes_the_mean_of_six_unflipped_attributions() -> None:
    model, inputs = small_net(double=True), images(double=True)
    smooth = CAM(model, method="guidedbackprop", aug_smooth=True)(inputs, 1)
    passes = []
    for factor in (0.9, 1.0, 1.1):
        passes.append(CAM(model, method="guidedbackprop")(inputs * factor, 1).attributions)
        passes.append(CAM(model, method="guidedbackprop")(inputs.flip(-1) * factor, 1).attributions.flip(-1))
    torch.testing.assert_close(smooth.attributions, torch.stack(passes).mean(dim=0))


@pytest.mark.parametrize("name", OF_INPUT)
def test_a_first_layer_may_work_in_place(name: str) -> None:
    inner = small_net()
    inputs = images()
    in_place = nn.Sequential(nn.ReLU(inplace=True), inner)
    plain_relu = nn.Sequential(nn.ReLU(), inner)
    one, other = (CAM(model, method=name)(inputs, 1) for model in (in_place, plain_relu))
    torch.testing.assert_close(one.raw["input"], other.raw["input"])
