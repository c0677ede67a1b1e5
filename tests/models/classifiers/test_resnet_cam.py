"""ResNetCAM: mmpretrain's ResNet with the head that a class activation map is exact for."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.config.loading import load_config
from camtool.datasets.splits import Samples
from camtool.errors import ConfigError
from camtool.models import load_network

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")  # of random weights a map may be negative everywhere
OF_OTHER_RANKS = {"cnn_tiny_signals": (24, 1), "conv1d_tiny_signals": (24,), "cnn_tiny_volumes": (8, 8, 8)}
RECIPES = sorted(path for path in [*CONFIGS.glob("resnet_cam/*.py"), *CONFIGS.glob("shapes/*.py")] if path.stem not in OF_OTHER_RANKS)


def build(**config: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmcv-lite remarks on what it leaves out
        import mmpretrain.models  # noqa: F401 - registers the networks
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import MODELS

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(config)
    model.eval()  # of mmpretrain's backbones it returns None
    return model


def build_data(config: Any) -> Any:
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import DATASETS

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return DATASETS.build(config)


def with_statistics(model: nn.Module) -> nn.Module:
    """Return the model with BatchNorm statistics and a bias that are not the initial ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    nn.init.uniform_(model.head.fc.bias, -1, 1)
    return model


@pytest.fixture
def small() -> nn.Module:
    return with_statistics(build(type="camtool.ResNetCAM", num_classes=5, base_channels=4, stem="small", strides=(2, 2, 2, 1))).double()


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 3, 64, 64, dtype=torch.float64)


@pytest.mark.parametrize(("stem", "backbone"), [("imagenet", "ResNet"), ("small", "ResNet_CIFAR")])
@pytest.mark.parametrize(("depth", "widest"), [(18, 32), (50, 128)])
def test_it_is_mmpretrains_classifier(stem: str, backbone: str, depth: int, widest: int, inputs: Tensor) -> None:
    ours = with_statistics(build(type="camtool.ResNetCAM", depth=depth, num_classes=7, base_channels=4, stem=stem, strides=(1, 2, 1, 2)))
    theirs = build(
        type="ImageClassifier",
        backbone={"type": backbone, "depth": depth, "stem_channels": 4, "base_channels": 4, "strides": (1, 2, 1, 2)},
        neck={"type": "GlobalAveragePooling"},
        head={"type": "LinearClsHead", "num_classes": 7, "in_channels": widest},
    )
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(inputs.float()), theirs(inputs.float()))
    assert ours(inputs.float()).unique().numel() > 7


def test_the_mean_of_the_map_and_the_bias_are_the_logit(small: nn.Module, inputs: Tensor) -> None:
    with CAM(small, method="cam") as cam:
        result = cam(inputs, [[0, 1, 2, 3, 4]] * 3)
    weight, activations = small.head.fc.weight, small.extract_feat(inputs, stage="backbone")[-1]
    by_hand = torch.einsum("kc,nchw->nkhw", weight, activations)  # eq. 2 of the paper
    logits = by_hand.mean(dim=(2, 3)) + small.head.fc.bias
    (raw,) = result.raw.values()
    torch.testing.assert_close(logits, small(inputs), rtol=0, atol=1e-12)
    torch.testing.assert_close(raw, by_hand, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(raw.mean(dim=(2, 3)) + small.head.fc.bias, result.logits, rtol=1e-5, atol=1e-6)
    assert raw.shape == (3, 5, 8, 8)


def test_cam_and_gradcam_are_proportional(small: nn.Module, inputs: Tensor) -> None:
    results = CAM(small, method=["cam", "gradcam"])(inputs, [[0, 3]] * 3)
    (raw,), (of_gradients,) = (results[name].raw.values() for name in ("cam", "gradcam"))
    positions = raw[0, 0].numel()
    assert raw.std() > 1e-3
    torch.testing.assert_close(of_gradients * positions, raw, rtol=1e-5, atol=1e-5 * raw.abs().amax().item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "imagnet"}, "no stem 'imagnet'; closest: 'imagenet'"),
        ({"depth": 20}, "no depth 20; expected one of 18, 34, 50"),
        ({"strides": (1, 2, 2)}, r"four stages: expected four strides, got strides=\(1, 2, 2\)"),
        ({"pretrained": "none.pth"}, None),
    ],
)
def test_what_there_is_not_is_refused(options: dict[str, Any], message: str | None) -> None:
    if message is None:
        build(type="camtool.ResNetCAM", base_channels=4, **options)  # ImageClassifier's own keys pass
        return
    with pytest.raises(Exception, match=message) as caught:
        build(type="camtool.ResNetCAM", base_channels=4, **options)
    assert isinstance(caught.value, ConfigError)


def test_a_misspelt_network_is_named() -> None:
    path = str(CONFIGS / "resnet_cam/resnet18_cam_shapes.py")
    with pytest.raises(ConfigError, match=r"Unknown model type 'camtool\.ResnetCam'; closest: 'camtool\.ResNetCAM'"):
        load_network(load_config(path, {"model.type": "camtool.ResnetCam"}), random_weights=True)
    with pytest.raises(ConfigError, match="ResNetCAM has no stem 'large'"):
        load_network(load_config(path, {"model.stem": "large"}), random_weights=True)


def test_convolutions_need_as_many_strides_and_an_odd_kernel() -> None:
    for options in ({"strides": (1,)}, {"kernel_size": 4}, {"kernel_size": (3, 2)}, {"kernel_size": (3, 1, 1)}):
        with pytest.raises(ConfigError, match="as many strides as channels and an odd kernel size"):
            build(type="camtool.ConvNet", **options)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_run_in_any_number_of_axes(rank: int) -> None:
    model = build(type="camtool.ConvNet", in_channels=2, channels=(4, 6), strides=(2, 1), rank=rank)
    (maps,) = model(torch.randn(2, 2, *[10] * rank))
    assert maps.shape == (2, 6, *[5] * rank)
    assert (maps >= 0).all()


def test_convolutions_over_one_axis_of_two_leave_the_other_alone() -> None:
    model = build(type="camtool.ConvNet", channels=(4, 6), strides=((2, 1), 1), kernel_size=(5, 1))
    model.eval()
    inputs = torch.randn(2, 3, 12, 4)
    (maps,) = model(inputs)
    assert maps.shape == (2, 6, 6, 4)
    torch.testing.assert_close(model(inputs[..., 2:3])[0], maps[..., 2:3])


@pytest.mark.parametrize("stride", [2, 8])
def test_a_convolutional_stem_gives_as_many_tokens_as_the_convolution_in_its_place(stride: int) -> None:
    arch = {"embed_dims": 16, "num_layers": 1, "num_heads": 2, "feedforward_channels": 16}
    keywords = {"type": "VisionTransformer", "arch": arch, "img_size": 4 * stride, "patch_size": stride, "out_type": "featmap"}
    plain, stem = build(**keywords), build(**keywords, patch_cfg={"conv_type": "camtool.ConvStem"})
    inputs = torch.randn(2, 3, 4 * stride, 4 * stride)
    assert stem(inputs)[0].shape == plain(inputs)[0].shape == (2, 16, 4, 4)
    assert [module.stride for module in stem.modules() if isinstance(module, nn.Conv2d)][-2:] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("stride", [(1, 1), (6, 6), (4, 2)])
def test_a_convolutional_stem_needs_a_power_of_two(stride: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=rf"a stride of 2, 4, 8, …, the same along both axes, got \({stride[0]}, {stride[1]}\)"):
        build(type="camtool.ConvStem", in_channels=3, out_channels=16, kernel_size=stride, stride=stride)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipes_map_has_at_least_eight_by_eight_positions(path: Path) -> None:
    network = load_network(load_config(str(path)), random_weights=True)
    picture = np.random.default_rng(0).integers(0, 256, (200, 240, 3), dtype=np.uint8)
    result = CAM(network.model, method="gradcam")(network.preprocess(picture))
    (raw,) = result.raw.values()
    assert min(raw.shape[1:]) >= 8
    names, remark = network.class_names(result.logits.shape[1])
    assert names is not None, remark


@pytest.mark.parametrize("name", OF_OTHER_RANKS)
def test_recipes_of_other_ranks_take_their_data_sets_samples(name: str) -> None:
    config = load_config(str(CONFIGS / f"shapes/{name}.py"))
    network = load_network(config, random_weights=True)
    sample = build_data({**config.config.test_dataloader.dataset, "count": 1})[0]
    inputs = network.model.data_preprocessor({"inputs": sample["inputs"][None]}, False)["inputs"]
    own = Samples(config.config, "val", name).read(0, network.reading)
    assert torch.equal(network.preprocess(own.content), inputs), "a file of the same values is given to the network as in training"
    result = CAM(network.model)(inputs)
    (raw,) = result.raw.values()
    assert raw.shape[1:] == OF_OTHER_RANKS[name]
    names, remark = network.class_names(result.logits.shape[1])
    assert names == config.config.test_dataloader.dataset.metainfo.classes, remark


def test_the_network_of_signals_is_the_same_in_conv1d() -> None:
    """So it learns the same: both begin with the same weights, see the same batches, and have the same gradients."""
    logits, gradients, weights, batches = [], [], [], []
    for name in ("cnn_tiny_signals", "conv1d_tiny_signals"):
        config = load_config(str(CONFIGS / f"shapes/{name}.py")).config
        torch.manual_seed(0)
        model = build(data_preprocessor=config.data_preprocessor, **config.model)
        model.init_weights()
        weights.append([value.detach().clone().flatten() for value in model.parameters()])
        torch.nn.init.normal_(model.head.fc.weight)
        data = build_data({**config.train_dataloader.dataset, "count": 3})
        np.random.seed(0)  # of RandomFlip
        batches.append(model.data_preprocessor({"inputs": torch.stack([data[index]["inputs"] for index in range(3)])}, False)["inputs"])
        model.train()
        logits.append(model(batches[-1]))
        logits[-1].square().sum().backward()
        gradients.append([value.grad.flatten() for value in model.parameters()])
    assert batches[1].shape == (3, 3, 192)
    torch.testing.assert_close(batches[1], batches[0][..., 0])
    torch.testing.assert_close(weights[1], weights[0])
    torch.testing.assert_close(logits[1], logits[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4 * float(max(one.abs().max() for one in gradients[0])))
