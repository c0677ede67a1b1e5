"""Networks of timm: built, fed and named as timm does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image

from camtool.config.loading import LoadedConfig, load_config
from camtool.errors import CamtoolWarning, CheckpointError, ConfigError
from camtool.io.images import read_picture
from camtool.models import load_network
from camtool.models.sources import find_source

CAT = Path(__file__).resolve().parents[3] / "demo/cat.jpg"
SMALL = {"model.depth": 2, "model.embed_dim": 32, "model.num_heads": 2}
Save = Callable[..., str]


def vit(**options: Any) -> LoadedConfig:
    return load_config("timm/vit_tiny_patch16_224", {**SMALL, **{f"model.{key}": value for key, value in options.items()}})


def test_the_weights_of_timms_own_model_give_its_logits(saved: Save) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", depth=2, embed_dim=32, num_heads=2).eval()
    network = load_network(vit(), saved(theirs.state_dict()))
    inputs = network.preprocess(read_picture(CAT))
    with torch.no_grad():
        torch.testing.assert_close(network.model(inputs), theirs(inputs), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "efficientnet_b1"])
def test_the_input_is_what_timms_transform_makes(name: str) -> None:
    network = load_network(load_config(f"timm/{name}"), random_weights=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network.model))
    expected = transform(Image.open(CAT).convert("RGB")).unsqueeze(0)
    assert torch.equal(network.preprocess(read_picture(CAT)), expected)


def test_another_input_size_changes_network_and_preprocessing() -> None:
    network = load_network(vit(img_size=96), random_weights=True)
    inputs = network.preprocess(read_picture(CAT))
    assert inputs.shape == (1, 3, 96, 96)
    assert network.model(inputs).shape == (1, 1000)


def test_classes_of_imagenet_have_their_names_and_others_those_of_the_config() -> None:
    names, remark = load_network(vit(), random_weights=True).class_names(1000)
    assert names is not None
    assert (names[282], remark) == ("tiger cat", "")
    own = load_network(vit(num_classes=3, classes=["a", "b", "c"]), random_weights=True)
    assert own.class_names(3) == (["a", "b", "c"], "")
    assert load_network(vit(num_classes=3), random_weights=True).class_names(3)[0] is None


def test_multi_label_is_a_sigmoid_of_each_class() -> None:
    network = load_network(vit(num_classes=3, multi_label=True), random_weights=True)
    assert network.probabilities(torch.zeros(1, 3))[1] == "sigmoid"


def test_a_position_embedding_of_another_size_is_resampled_as_timm_does(saved: Save) -> None:
    large = timm.create_model("vit_tiny_patch16_224", depth=2, embed_dim=32, num_heads=2)
    network = load_network(vit(img_size=96), saved(large.state_dict()))
    expected = timm.layers.resample_abs_pos_embed(large.pos_embed.detach(), [6, 6], num_prefix_tokens=1)
    torch.testing.assert_close(network.model.get_parameter("pos_embed"), expected)


def test_a_head_of_another_size_is_fatal_not_random(saved: Save) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", depth=2, embed_dim=32, num_heads=2, num_classes=7)
    with pytest.raises(CheckpointError, match=r"head\.weight is \[7, 32\] in the checkpoint and \[1000, 32\] in the network"):
        load_network(vit(), saved(theirs.state_dict()))


def test_published_weights_are_named_by_the_tag_or_timms_first() -> None:
    def published(name: str) -> str | None:
        return find_source(load_config(f"timm/{name}")).published

    assert published("resnet50.a1_in1k") == "hf-hub://timm/resnet50.a1_in1k"
    assert published("vit_small_patch16_224") == "hf-hub://timm/vit_small_patch16_224.augreg_in21k_ft_in1k"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", r"timm \S+ has no model 'resnet5O'; closest: 'resnet50"),
        ("resnet50.a9", r"timm has no weights 'resnet50\.a9'; expected one of: .*resnet50\.a1_in1k"),
        ("vgg11.", r"timm has no weights 'vgg11\.'|has no model"),
    ],
)
def test_a_wrong_name_is_said_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_network(load_config(f"timm/{name}"), random_weights=True)


def test_a_wrong_argument_is_said() -> None:
    with pytest.raises(ConfigError, match=r"Cannot build the model of 'timm/vit_tiny_patch16_224': TypeError.*no_such"):
        load_network(load_config("timm/vit_tiny_patch16_224", {"model.no_such": 1}), random_weights=True)


def test_averaged_weights_are_taken_where_timm_takes_them(saved: Save) -> None:
    small = {"depth": 2, "embed_dim": 32, "num_heads": 2}
    raw, averaged = (timm.create_model("vit_tiny_patch16_224", **small).state_dict() for _ in range(2))
    path = saved({"epoch": 9, "state_dict": raw, "state_dict_ema": {f"module.{name}": value for name, value in averaged.items()}})
    theirs = timm.create_model("vit_tiny_patch16_224", **small, checkpoint_path=path)
    with pytest.warns(CamtoolWarning, match="those of 'state_dict_ema.module'; other weights"):
        network = load_network(vit(), path)
    assert torch.equal(network.model.get_parameter("pos_embed"), theirs.pos_embed)
    assert torch.equal(theirs.pos_embed, averaged["pos_embed"])


def test_averaged_weights_of_another_size_are_taken_too(saved: Save) -> None:
    raw, averaged = (timm.create_model("vit_tiny_patch16_224", depth=2, embed_dim=32, num_heads=2) for _ in range(2))
    network = load_network(vit(img_size=96), saved({"state_dict": raw.state_dict(), "state_dict_ema": averaged.state_dict()}))
    expected = timm.layers.resample_abs_pos_embed(averaged.pos_embed.detach(), [6, 6], num_prefix_tokens=1)
    torch.testing.assert_close(network.model.get_parameter("pos_embed"), expected)
