"""Networks of torchvision: built, fed and named as torchvision does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from camtool.config.loading import load_config
from camtool.errors import ConfigError
from camtool.io.images import read_picture
from camtool.models import load_network
from camtool.models.sources import find_source

CAT = Path(__file__).resolve().parents[3] / "demo/cat.jpg"


def test_the_weights_of_torchvisions_own_model_give_its_logits(saved: Callable[..., str]) -> None:
    theirs = torchvision.models.squeezenet1_1(weights=None).eval()
    network = load_network(load_config("torchvision/squeezenet1_1"), saved(theirs.state_dict()))
    inputs = network.preprocess(read_picture(CAT))
    with torch.no_grad():
        torch.testing.assert_close(network.model(inputs), theirs(inputs), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "tag"), [("mobilenet_v3_small", "DEFAULT"), ("resnet18", "IMAGENET1K_V1"), ("mobilenet_v2", "IMAGENET1K_V2")]
)
def test_the_input_is_what_the_weights_transform_makes(name: str, tag: str) -> None:
    network = load_network(load_config(f"torchvision/{name}", {"model.weights": tag}), random_weights=True)
    weights = torchvision.models.get_model_weights(name)[tag]
    expected = weights.transforms()(Image.open(CAT).convert("RGB")).unsqueeze(0)
    assert torch.equal(network.preprocess(read_picture(CAT)), expected)
    assert network.source.published == weights.url


def test_the_names_are_those_of_the_weights() -> None:
    network = load_network(load_config("torchvision/squeezenet1_1"), random_weights=True)
    names, remark = network.class_names(1000)
    assert names is not None
    assert (names[282], remark) == ("tiger cat", "")


def test_a_network_of_other_classes_has_the_configs_names() -> None:
    options = {"model.num_classes": 2, "model.classes": ["no", "yes"]}
    network = load_network(load_config("torchvision/squeezenet1_1", options), random_weights=True)
    assert network.model(network.preprocess(read_picture(CAT))).shape == (1, 2)
    assert network.class_names(2) == (["no", "yes"], "")


def test_the_input_that_inception_transforms_itself_is_transformed() -> None:
    # torchvision does so whenever it loads weights; without, the published weights see wrong colours.
    source = find_source(load_config("torchvision/googlenet", {"model.init_weights": False}))
    assert source.build().transform_input is True


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, r"torchvision \S+ has no classifier 'resnet81'; closest: 'resnet18'"),
        ("fasterrcnn_resnet50_fpn", {}, "has no classifier 'fasterrcnn_resnet50_fpn'"),
        ("resnet18", {"model.weights": "IMAGENET1K_V9"}, "no weights 'IMAGENET1K_V9' of 'resnet18'; expected one of: IMAGENET1K_V1"),
        ("resnet18", {"model.no_such": 1}, "Cannot build the model of 'torchvision/resnet18': TypeError.*no_such"),
    ],
)
def test_a_wrong_name_is_said(name: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_network(load_config(f"torchvision/{name}", options), random_weights=True)
