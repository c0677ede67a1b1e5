"""How maps of several layers are fused: hand values, the pipeline, and what is said of it."""

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.attribution.result import DISJOINT
from camtool.errors import CamtoolWarning, MethodError
from camtool.functional import min_max, resize, spatial_mean
from camtool.fusion import Fusion, Maximum, Mean, Product, Refined, Winsorized, build_fusion
from camtool.methods import build_method, build_methods
from tests.methods import replicas
from tests.networks import RANKS, SIZES, autograd_evidence, images, small_net

quiet = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
LAYERS = ["early", "late"]


def test_a_product_by_hand() -> None:
    layers = torch.tensor([[[0.0, 1.0, 2.0]], [[0.5, 0.5, 1.0]]], dtype=torch.float64)
    # scaled 0 1/2 1 and 0 0 1
    torch.testing.assert_close(Product().fused(list(layers), (3,)), torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))


def test_a_maximum_by_hand() -> None:
    layers = [torch.tensor([[0.0, 1.0, 4.0, 0.0]], dtype=torch.float64), torch.tensor([[6.0, 3.0, 6.0, 0.0]], dtype=torch.float64)]
    # scaled 0 1/4 1 0 and 1 1/2 1 0
    torch.testing.assert_close(Maximum().fused(layers, (4,)), torch.tensor([[1.0, 0.5, 1.0, 0.0]], dtype=torch.float64))
    # tanh 2, tanh 1, tanh 2 and 0, over tanh 2
    ratio = 0.7615941559557649 / 0.9640275800758169
    torch.testing.assert_close(Maximum(gamma=2.0).fused(layers, (4,)), torch.tensor([[1.0, ratio, 1.0, 0.0]], dtype=torch.float64))


@quiet
@pytest.mark.parametrize("gamma", [None, 2.0])
@pytest.mark.parametrize("rank", RANKS)
def test_a_maximum_is_that_of_the_layers_scaled_maps(rank: int, gamma: float | None) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    result = CAM(model, LAYERS, "layercam", fuse={"type": "max", "gamma": gamma}, dtype=torch.float64)(inputs, 1)
    assert result.source == "at the maximum of early, late"
    for sample in range(2):
        total = np.zeros(SIZES[rank])
        for raw in result.raw.values():
            positive = np.maximum(raw[sample].numpy(), 0)
            scaled = (positive - positive.min()) / (positive.max() - positive.min())
            if gamma is not None:
                scaled = np.tanh(gamma * positive / positive.max())
            total = np.maximum(total, replicas.resize(scaled, SIZES[rank]))
        expected = (total - total.min()) / (total.max() - total.min())
        np.testing.assert_allclose(result.maps[sample].numpy(), expected, atol=1e-6)


def test_a_gamma_that_squeezes_nothing_is_refused() -> None:
    with pytest.raises(MethodError, match="Expected a gamma above 0"):
        build_fusion({"type": "max", "gamma": 0.0})


def test_a_refinement_by_hand() -> None:
    fine, coarse = torch.tensor([[0.0, 2.0, 3.0, 1.0]], dtype=torch.float64), torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    # The means 1 2 of the fine map, resized, are 1 5/4 7/4 2, and the coarse map 1 3/2 5/2 3: the product is 0 12/5 30/7 3/2.
    expected = torch.tensor([[0.0, 12 / 5, 30 / 7, 3 / 2]], dtype=torch.float64) * 7 / 30
    for layers in ([fine, coarse], [coarse, fine]):
        torch.testing.assert_close(Refined().fused(layers, (4,)), expected, atol=1e-6, rtol=0)


def refined(layers: list[np.ndarray]) -> np.ndarray:
    """Replica: the layers of one sample, coarsest last."""
    *finer, found = layers
    for layer in reversed(finer):
        means = np.zeros(found.shape)
        for p in np.ndindex(*means.shape):
            cell = tuple(slice(i * n // m, -(-(i + 1) * n // m)) for i, n, m in zip(p, layer.shape, means.shape, strict=True))
            means[p] = layer[cell].mean()
        within, behind = replicas.resize(means, layer.shape), replicas.resize(found, layer.shape)
        found = np.zeros(layer.shape)
        for p in np.ndindex(*layer.shape):
            found[p] = 0 if layer[p] == 0 else layer[p] / within[p] * behind[p]
    return found


@pytest.mark.parametrize("rank", RANKS)
def test_a_refinement_is_its_replica_and_each_sample_its_own(rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    sizes = [(9, 8, 7)[:rank], (9, 8, 7)[:rank], (4, 4, 3)[:rank], (2, 3, 1)[:rank]]
    layers = [torch.rand(3, *size, generator=generator, dtype=torch.float64).sub(0.2).clamp(min=0) for size in sizes]
    layers[0][2] = 0
    found = Refined().fused(layers, sizes[0])
    assert (found[2] == 0).all()
    for sample in range(2):
        expected = torch.from_numpy(refined([layer[sample].numpy() for layer in layers]))
        torch.testing.assert_close(found[sample], min_max(expected.unsqueeze(0))[0], atol=1e-6, rtol=0)


def test_a_fine_dot_beside_the_positions_that_a_resize_looks_at_is_not_everything() -> None:
    fine = torch.full((1, 16, 16), 0.1)
    fine[0, 0, 0] = 0.2  # a resize to 2x2 takes the positions 3 and 4, 11 and 12
    fine[0, 3:5, 3:5] = 0.0
    fine[0, 3:5, 11:13] = 0.0
    found = Refined().fused([fine, torch.ones(1, 2, 2)], (16, 16))
    assert found.mean() > 0.3, "divided by nothing, the dot would be 10^11 times as strong as the rest"


@quiet
@pytest.mark.parametrize("rank", RANKS)
def test_polycam_refines_its_last_layer(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    result = CAM(model, LAYERS, "polycam")(inputs, 1)
    assert result.source == "at the refinement of early, late"
    positive = [result.raw[layer].double().clamp(min=0) for layer in LAYERS]
    torch.testing.assert_close(result.maps.double(), Refined().fused(positive, SIZES[rank]), atol=1e-5, rtol=1e-5)


def test_weights_of_a_winsorized_mean_by_hand() -> None:
    importances = torch.tensor([[1.0], [0.0], [2.0], [3.0], [10.0]], dtype=torch.float64)
    # Of 1 2 3 10 the middle is 2.5: 1 2 2.5 2.5, from 0.1 at 1 to 1 at 2.5; what is not positive weighs nothing.
    weights = Winsorized(percentile=50.0).weights(importances)
    torch.testing.assert_close(weights.flatten(), torch.tensor([0.1, 0.0, 0.7, 1.0, 1.0], dtype=torch.float64))
    # Not cut off: 0.1 + 0.9 (v - 1) / 9
    torch.testing.assert_close(Winsorized(percentile=100.0).weights(importances).flatten()[2].item(), 0.2)
    assert Winsorized(percentile=0.0).weights(importances).flatten().tolist() == [1, 0, 1, 1, 1]


def test_each_sample_is_winsorized_by_itself_and_without_importance_all_weigh_the_same() -> None:
    importances = torch.tensor([[0.0, 1.0, 5.0], [0.0, 0.0, 5.0]])
    assert Winsorized().weights(importances).tolist() == [[1, 1, 1], [1, 0, 1]]


@quiet
@pytest.mark.parametrize("rank", RANKS)
def test_winsorcam_is_the_weighted_sum_of_gradcams_maps(rank: int) -> None:
    model, inputs, classes = small_net(rank, double=True), images(rank, double=True), [[0, 3], [1, 2]]
    result = CAM(model, LAYERS, "winsorcam")(inputs, classes)
    assert result.source == "at the winsorized mean of early, late"
    for k in range(2):
        total = torch.zeros(2, *SIZES[rank], dtype=torch.float64)
        found = [autograd_evidence(model, model.get_submodule(layer), inputs, [row[k] for row in classes]) for layer in LAYERS]
        weights = Winsorized().weights(torch.stack([gradients.flatten(1).mean(1).clamp(min=0) for _, gradients, _ in found]))
        for (activations, gradients, _), weight in zip(found, weights, strict=True):
            raw = (spatial_mean(gradients) * activations).sum(1)
            total += weight.view(-1, *[1] * rank) * resize(min_max(raw.clamp(min=0)), SIZES[rank])
        torch.testing.assert_close(result.maps[:, k].double(), min_max(total), atol=1e-6, rtol=1e-5)


@quiet
@pytest.mark.parametrize("name", ["refinecam", "winsorcam"])
@pytest.mark.parametrize("layer", LAYERS)
def test_with_one_layer_they_are_gradcam(name: str, layer: str) -> None:
    results = CAM(small_net(), layer, [name, "gradcam"], fuse="product")(images(), [[0, 1], [2, 3]])
    assert torch.equal(results[name].maps, results["gradcam"].maps)


@quiet
def test_any_method_can_be_fused_any_way() -> None:
    model, inputs = small_net(), images()
    for name in ("layercam", "eigencam"):
        by_layer = CAM(model, LAYERS, name)(inputs, 1).layer_maps
        product = CAM(model, LAYERS, name, fuse="product")(inputs, 1)
        torch.testing.assert_close(product.maps, min_max(by_layer["early"] * by_layer["late"]), atol=1e-5, rtol=1e-5)
        assert product.source == "at the product of early, late"
        assert CAM(model, LAYERS, name, fuse={"type": "Winsorized", "percentile": 50.0})(inputs, 1).maps.amax() > 0.9
    refined = CAM(model, LAYERS, ["refinecam", "gradcam"], fuse="product")(inputs, 1)
    assert torch.equal(refined["refinecam"].maps, refined["gradcam"].maps)


class Sides(nn.Module):
    """Two layers that look at one side of the picture each."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Identity(), nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        half = image.shape[-1] // 2
        kept = torch.zeros_like(image)
        left, right = kept.clone(), kept.clone()
        left[..., :half], right[..., half:] = image[..., :half], image[..., half:]
        return self.left(left).mean((2, 3)) + self.right(right).mean((2, 3))


@pytest.mark.parametrize("size", [3e37, 1e30, 1e-30, 1e-36])
@pytest.mark.parametrize("kind", [Mean(), Product(), Maximum(), Maximum(2.0), Refined(), Winsorized()], ids=repr)
def test_how_large_the_values_are_changes_no_fusion(kind: Fusion, size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(2, cells, cells, generator=generator).clamp(min=0) for cells in (16, 8, 4)]
    importances = torch.ones(3, 2)
    expected = kind.fused(layers, (32, 32), importances)
    found = kind.fused([layer * size for layer in layers], (32, 32), importances)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_layers_that_agree_on_nothing_give_an_empty_product_that_says_so() -> None:
    with pytest.warns(CamtoolWarning, match="nothing of it is left"):
        result = CAM(Sides(), ["left", "right"], "hirescam", fuse="product")(torch.rand(1, 2, 8, 8), 0)
    assert result.status == [DISJOINT]
    assert (result.maps == 0).all()


def test_evidence_against_a_class_in_two_layers_is_not_multiplied_to_evidence_for_it() -> None:
    class Stub:
        def __init__(self, *arguments: object, **options: object) -> None:
            pass

        def __call__(self, *arguments: object) -> np.ndarray:
            return np.array([[[-1.0, 0.5], [0.0, 0.2]]])

    theirs = peer.RefineCAM(nn.Identity(), [nn.Identity()] * 2, base_method=Stub)(torch.zeros(1))
    assert theirs[0, 0, 0] == pytest.approx(1, abs=1e-5), "theirs does not scale: the worst position is the best"
    model = nn.Sequential(nn.Identity(), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    result = CAM(model, ["[0]", "[1]"], "hirescam", fuse="product")(torch.tensor([[[[-1.0, 0.5], [0.0, 0.2]]]]), 0)
    assert result.maps[0].argmax().item() == 1
    assert result.maps[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("prodct", "closest: 'product'"),
        ({"percentile": 3}, "a name or a dict with 'type'"),
        ({"type": "Winsorized", "percentil": 1}, "percentil"),
    ],
)
def test_what_is_no_fusion_is_said(spec: object, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        build_fusion(spec)


def test_settings_are_compared_by_value() -> None:
    assert build_fusion("Product") == Product()
    assert build_fusion("mean") == Mean()
    assert list(build_methods(["winsorcam", "WinsorCAM"])) == ["winsorcam"]
    with pytest.raises(MethodError, match="0 to 100"):
        build_method({"type": "winsorcam", "percentile": 101.0})
