"""What the network gets, against mmpretrain's own inferencer, bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from camtool.config.loading import load_config
from camtool.errors import ConfigError
from camtool.io.images import read_picture
from camtool.models import load_network
from camtool.models.sources.mmpretrain_pipeline import PicturePipeline
from camtool.visualization.inverse_preprocessing import seen_picture
from tests.models.fixtures import ROOT, SMALL
from tests.models.pipelines import FAMILIES, build, with_small_network

CIFAR = "mmpretrain::resnet/resnet18_8xb16_cifar10.py"
MNIST = "mmpretrain::lenet/lenet5_mnist.py"


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=FAMILIES)
def pair(request: pytest.FixtureRequest) -> tuple[PicturePipeline, Any]:
    """A family's preprocessing, and mmpretrain's inferencer for the same config."""
    from mmpretrain.apis import ImageClassificationInferencer

    config = with_small_network(request.param)
    return build(config)[0], ImageClassificationInferencer(config, pretrained=False, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """JPEG files: wide, tall, large, and smaller than any network's input."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [str(ROOT / "demo/cat.jpg"), str(ROOT / "demo/rocket.jpg")]
    cat = Image.open(paths[0])
    for width, height in [(47, 61), (333, 1001), (900, 224)]:
        paths.append(str(folder / f"{width}.jpg"))
        cat.resize((width, height)).save(paths[-1])
    return paths


def test_the_input_equals_the_inferencers_bit_for_bit(pair: tuple[PicturePipeline, Any], pictures: list[str]) -> None:
    preprocess, inferencer = pair
    for path in pictures:
        (data,) = inferencer.preprocess([path])
        expected = inferencer.model.data_preprocessor(data, False)["inputs"]
        assert torch.equal(preprocess(read_picture(Path(path))), expected), path


def test_the_seen_picture_is_the_pipelines_before_normalisation(pair: tuple[PicturePipeline, Any], pictures: list[str]) -> None:
    preprocess, inferencer = pair
    for path in pictures:
        (data,) = inferencer.preprocess([path])
        cropped = data["inputs"][0].permute(1, 2, 0).numpy()[..., ::-1]
        np.testing.assert_array_equal(seen_picture(preprocess(read_picture(Path(path))), preprocess), cropped)


def test_the_callers_picture_is_not_changed(pair: tuple[PicturePipeline, Any]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    before = picture.copy()
    pair[0](picture)
    np.testing.assert_array_equal(picture, before)


def test_cifar_gets_its_own_size_in_rgb() -> None:
    # The inferencer serves these configs badly: it neither resizes nor turns its BGR into the RGB that the statistics are for.
    preprocess, _ = build(with_small_network(CIFAR))
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    mean, std = torch.tensor([125.307, 122.961, 113.8575]), torch.tensor([51.5865, 50.847, 51.255])
    expected = ((torch.from_numpy(picture).float() - mean) / std).permute(2, 0, 1)[None]
    torch.testing.assert_close(preprocess(picture), expected, atol=1e-6, rtol=1e-6)
    np.testing.assert_array_equal(seen_picture(preprocess(picture), preprocess), picture)


def test_a_large_picture_is_averaged_down_to_cifars_size() -> None:
    preprocess, _ = build(with_small_network(CIFAR))
    large = np.random.default_rng(0).integers(0, 256, (32 * 5, 32 * 7, 3), dtype=np.uint8)
    averaged = large.reshape(32, 5, 32, 7, 3).mean(axis=(1, 3))
    assert np.abs(seen_picture(preprocess(large), preprocess) - averaged).max() < 0.6


def test_mnist_gets_one_grey_channel_of_the_size_of_its_pipeline() -> None:
    network = load_network(load_config(MNIST), random_weights=True)
    picture = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8).repeat(3, axis=2)
    inputs = network.preprocess(picture)
    resized = cv2.resize(picture[..., 0], (32, 32), interpolation=cv2.INTER_LINEAR)
    torch.testing.assert_close(inputs, (torch.from_numpy(resized).float()[None, None] - 33.46) / 78.87, atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(seen_picture(inputs, network.preprocess), resized[..., None].repeat(3, axis=2))
    assert network.model(inputs, mode="tensor").numel() == 10


def test_statistics_in_bgr_are_recognised(config_file: Callable[..., str]) -> None:
    config = load_config(config_file(SMALL.replace("to_rgb=True", "to_rgb=False"))).config
    preprocess, _ = build(config)
    picture = read_picture(ROOT / "demo/cat.jpg")
    turned = seen_picture(preprocess(picture), preprocess)
    usual, _ = build(load_config(config_file(SMALL)).config)
    np.testing.assert_array_equal(turned, seen_picture(usual(picture), usual))


def test_a_config_of_classes_instead_of_names_is_understood(config_file: Callable[..., str]) -> None:
    text = """
from mmengine.config import read_base
from mmpretrain.datasets import CenterCrop, ImageNet, LoadImageFromFile, PackInputs, ResizeEdge
from mmpretrain.models import GlobalAveragePooling, ImageClassifier, LinearClsHead, ResNet
model = dict(
    type=ImageClassifier, backbone=dict(type=ResNet, depth=18), neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=1000, in_channels=512))
test_pipeline = [
    dict(type=LoadImageFromFile), dict(type=ResizeEdge, scale=64), dict(type=CenterCrop, crop_size=48), dict(type=PackInputs)]
test_dataloader = dict(dataset=dict(type=ImageNet, pipeline=test_pipeline))
"""
    network = load_network(load_config(config_file(text)), random_weights=True)
    assert network.preprocess(np.zeros((50, 60, 3), dtype=np.uint8)).shape == (1, 3, 48, 48)
    names, _ = network.class_names(1000)
    assert names is not None
    assert names[967] == "espresso"


def test_a_pipeline_that_fails_on_a_picture_is_named(config_file: Callable[..., str]) -> None:
    text = SMALL + "test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile'), dict(type='Resize', scale=32)]))\n"
    preprocess, _ = build(load_config(config_file(text)).config)
    with pytest.raises(ConfigError, match="The config's test pipeline fails on this image: KeyError: 'inputs'"):
        preprocess(np.zeros((20, 30, 3), dtype=np.uint8))
