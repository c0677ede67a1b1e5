"""The maps of pytorch-grad-cam 1.5.7, to 1e-5, where its definition is the one that is followed."""

from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from camtool import CAM
from camtool.functional import fuse, min_max, resize

pytestmark = [
    pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:pytorch_grad_cam"),
]

PEERS = {
    "gradcam": peer.GradCAM,
    "gradcam++": peer.GradCAMPlusPlus,
    "xgradcam": peer.XGradCAM,
    "layercam": peer.LayerCAM,
    "hirescam": peer.HiResCAM,
    "gradcamelementwise": peer.GradCAMElementWise,
    "fem": peer.FEM,
}
EIGEN = {"eigencam": peer.EigenCAM, "eigengradcam": peer.EigenGradCAM, "kpcacam": peer.KPCA_CAM}
OURS: dict[str, dict[str, Any]] = {"gradcam++": {"type": "GradCAMPlusPlus", "epsilon": 1e-6}}
"""Settings with which a method follows theirs."""
CLASSES = [2, 7]


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None, num_classes=10).eval()
    nn.init.normal_(network.fc.weight, std=30.0)  # large gradients: the peer dims maps of small ones
    return network.double()  # grad-cam++ divides by sums of cubes: in float32 two kernels of one processor differ by more than 1e-5


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, depth=3, num_classes=10).eval().double()


def batch() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5)).double()


def grid_of_tokens(tokens: Tensor) -> Tensor:
    return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)


def theirs(method: type, model: nn.Module, layers: list[str], *, smooth: bool = False, **options: Any) -> np.ndarray:
    modules = [model.get_submodule(layer) for layer in layers]
    with method(model=model, target_layers=modules, **options) as cam:
        maps = cam(batch(), [ClassifierOutputTarget(index) for index in CLASSES], aug_smooth=smooth)
    model.zero_grad()
    return maps


def assert_maps_equal(ours: Tensor, expected: np.ndarray) -> None:
    assert expected.max() > 0.9, "a blank map would prove nothing"
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5, rtol=0)


LAYERS = [["layer4"], ["layer3.1.conv2"], ["layer2", "layer3", "layer4"]]
# Of the four positions of layer4 none can exceed the mean by two standard deviations: FEM is blank there.
PAIRS = [(name, layers) for name in PEERS for layers in LAYERS if (name, layers) != ("fem", ["layer4"])]


@pytest.mark.parametrize(("name", "layers"), PAIRS, ids=[f"{name}-{'+'.join(layers)}" for name, layers in PAIRS])
def test_maps_equal_theirs_on_resnet(name: str, layers: list[str], resnet: nn.Module) -> None:
    assert_maps_equal(CAM(resnet, layers, OURS.get(name, name))(batch(), CLASSES).maps, theirs(PEERS[name], resnet, layers))


@pytest.mark.parametrize("layer", ["blocks.2.norm1", "blocks.1"])
@pytest.mark.parametrize("name", PEERS)
def test_maps_equal_theirs_on_a_vision_transformer(name: str, layer: str, vit: nn.Module) -> None:
    expected = theirs(PEERS[name], vit, [layer], reshape_transform=grid_of_tokens)
    # In float64: between norms the residual stream is orthogonal to its gradient, so hirescam at a block is a sum that cancels.
    assert_maps_equal(CAM(vit, layer, OURS.get(name, name))(batch(), CLASSES).maps, expected)


# Theirs frees the graph at the first of several layers, and cannot be asked for tokens.
@pytest.mark.parametrize("layer", ["layer4", "layer3.1.conv2"])
def test_shapley_maps_equal_theirs_on_resnet(layer: str, resnet: nn.Module) -> None:
    assert_maps_equal(CAM(resnet, layer, "shapleycam")(batch(), CLASSES).maps, theirs(peer.ShapleyCAM, resnet, [layer]))


@pytest.mark.parametrize("layer", ["0", "2"])
def test_shapley_maps_equal_theirs_where_the_score_is_curved(layer: str) -> None:
    tail = [nn.Conv2d(8, 8, 3, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(8 * 7 * 7, 20), nn.Tanh(), nn.Linear(20, 10)]
    model = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.SiLU(), *tail).eval().double()
    ours = CAM(model, f"[{layer}]", ["shapleycam", "gradcam"])(batch(), CLASSES)
    expected = theirs(peer.ShapleyCAM, model, [layer])
    assert np.abs(ours["gradcam"].maps.numpy() - expected).max() > 1e-3
    assert_maps_equal(ours["shapleycam"].maps, expected)


@pytest.mark.parametrize("name", ["gradcam", "layercam", "fem"])
def test_maps_with_aug_smooth_equal_theirs_where_the_class_is_given(name: str, resnet: nn.Module) -> None:
    expected = theirs(PEERS[name], resnet, ["layer3"], smooth=True)
    assert expected.max() > 0.5
    np.testing.assert_allclose(CAM(resnet, "layer3", name, aug_smooth=True)(batch(), CLASSES).maps.numpy(), expected, atol=1e-5)


def final_map(raw: Tensor) -> Tensor:
    return fuse([resize(min_max(raw.clamp(min=0)), (64, 64))])


def assert_maps_equal_up_to_the_sign_of_the_raw_map(raw: Tensor, expected: np.ndarray) -> None:
    """Each of their samples is what our raw map, or its negative, becomes."""
    assert raw.isfinite().all()
    for sample in range(len(expected)):
        errors = [np.abs(final_map(sign * raw[sample : sample + 1])[0].numpy() - expected[sample]).max() for sign in (1, -1)]
        assert min(errors) < 1e-5
        assert max(errors) > 0.1, "both signs would fit"


@pytest.mark.parametrize("name", EIGEN)
@pytest.mark.parametrize("layer", ["layer3", "layer2.0.conv1"])
def test_eigen_maps_equal_theirs_up_to_sign(name: str, layer: str, resnet: nn.Module) -> None:
    result = CAM(resnet, layer, name)(batch(), CLASSES)
    assert_maps_equal_up_to_the_sign_of_the_raw_map(result.raw[result.layers[0]], theirs(EIGEN[name], resnet, [layer]))


@pytest.mark.parametrize("name", EIGEN)
def test_eigen_maps_equal_theirs_up_to_sign_on_a_vision_transformer(name: str, vit: nn.Module) -> None:
    result = CAM(vit, "blocks.2.norm1", name)(batch(), CLASSES)
    expected = theirs(EIGEN[name], vit, ["blocks.2.norm1"], reshape_transform=grid_of_tokens)
    assert_maps_equal_up_to_the_sign_of_the_raw_map(result.raw["blocks[2].norm1"], expected)


@pytest.mark.parametrize("name", ["gradcam", "xgradcam", "layercam", "gradcamelementwise"])
def test_maps_with_eigen_smooth_equal_theirs_up_to_sign(name: str, resnet: nn.Module) -> None:
    result = CAM(resnet, "layer3", name, eigen_smooth=True)(batch(), CLASSES)
    with PEERS[name](model=resnet, target_layers=[resnet.layer3]) as cam:
        expected = cam(batch(), [ClassifierOutputTarget(index) for index in CLASSES], eigen_smooth=True)
    resnet.zero_grad()
    assert_maps_equal_up_to_the_sign_of_the_raw_map(result.raw["layer3"], expected)


def test_seg_eigen_maps_equal_theirs_with_the_sign(resnet: nn.Module) -> None:
    assert_maps_equal(CAM(resnet, "layer3", "segeigencam")(batch(), CLASSES).maps, theirs(peer.SegEigenCAM, resnet, ["layer3"]))


def test_volume_maps_equal_theirs_where_no_resize_comes_between() -> None:
    # Their 3-D resize is a cubic spline that overshoots; at the input's own size there is none.
    model = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(32, 3)).eval()
    volume = torch.randn(2, 1, 6, 6, 6)
    for name in ("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam"):
        with PEERS[name](model=model, target_layers=[model[0]]) as cam:
            expected = cam(volume, [ClassifierOutputTarget(1)] * 2)
        assert_maps_equal(CAM(model, "[0]", OURS.get(name, name))(volume, 1).maps, expected)


def test_scorecam_equals_theirs_with_their_resize(resnet: nn.Module) -> None:
    ours = CAM(resnet, "layer1", {"type": "ScoreCAM", "align_corners": True})(batch(), CLASSES).maps
    assert_maps_equal(ours, theirs(peer.ScoreCAM, resnet, ["layer1"]))


def test_ablationcam_equals_theirs_where_scores_are_positive(resnet: nn.Module) -> None:
    # They divide by the score, which the scaling takes back. Behind a ReLU they set channels to 0, elsewhere to another value.
    inputs = batch()
    with torch.no_grad():
        best = resnet(inputs).argmax(1).tolist()
        assert (resnet(inputs).amax(1) > 0).all()
    with peer.AblationCAM(model=resnet, target_layers=[resnet.layer1]) as cam:
        expected = cam(inputs, [ClassifierOutputTarget(index) for index in best])
    assert_maps_equal(CAM(resnet, "layer1", "ablationcam")(inputs, best).maps, expected)
