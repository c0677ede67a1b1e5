"""A checkpoint of another number of classes names the option that fits, whatever the network comes from; tried, it fits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from camtool.config.loading import load_config
from camtool.config.overrides import parse_options
from camtool.errors import CheckpointError
from camtool.models import load_network

OWN = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, n_labels=4):
        super().__init__(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n_labels))
"""
MMPRETRAIN = """
model = dict(
    type="ImageClassifier",
    backbone=dict(type="ResNet", depth=18, stem_channels=8, base_channels=8),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=4, in_channels=64),
)
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
"""


def written(folder: Path, source: str) -> tuple[str, dict[str, Any]]:
    """Return a config of a small network of this source, and the override by which it has seven classes."""
    folder.mkdir(exist_ok=True)
    if source == "transformers":
        transformers = pytest.importorskip("transformers")
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32}
        transformers.ViTConfig(**sizes, patch_size=8, num_labels=4, architectures=["ViTForImageClassification"]).save_pretrained(folder)
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
        return str(folder), {"model.num_labels": 7}
    if source == "own":
        (folder / "net.py").write_text(OWN)
        (folder / "c.py").write_text("model = dict(type='camtool.TorchModel', factory='net.py:Net', preprocess=dict(resize=32))\n")
        return str(folder / "c.py"), {"model.kwargs.n_labels": 7}
    if source == "mmpretrain":
        (folder / "c.py").write_text(MMPRETRAIN)
        return str(folder / "c.py"), {"model.head.num_classes": 7}
    return source, {"model.num_classes": 7}


@pytest.mark.parametrize("source", ["timm/test_resnet", "torchvision/squeezenet1_1", "mmpretrain", "own", "transformers"])
def test_the_option_is_named_and_fits(tmp_path: Path, source: str) -> None:
    config, seven = written(tmp_path, source)
    torch.save(load_network(load_config(config, seven), random_weights=True).model.state_dict(), tmp_path / "seven.pth")

    with pytest.raises(CheckpointError, match=r"2 shapes differ: .* The checkpoint has 7 classes; try --cfg-options (\S+)\.$") as caught:
        load_network(load_config(config), str(tmp_path / "seven.pth"))
    option = str(caught.value).rpartition("--cfg-options ")[2].removesuffix(".")
    assert load_network(load_config(config, parse_options([option])), str(tmp_path / "seven.pth")).keys is not None


def test_other_shapes_are_not_taken_for_classes(tmp_path: Path) -> None:
    config, _ = written(tmp_path, "mmpretrain")
    wide = {"model.backbone.base_channels": 16, "model.head.in_channels": 128}
    torch.save(load_network(load_config(config, wide), random_weights=True).model.state_dict(), tmp_path / "wide.pth")
    with pytest.raises(CheckpointError, match="shapes differ") as caught:
        load_network(load_config(config), str(tmp_path / "wide.pth"))
    assert "--cfg-options" not in str(caught.value)


@pytest.mark.parametrize("form", ["{0}", "{0}/", "hf/{0}", "./folder", "hf/folder", "hf/./folder"])
def test_a_folder_of_transformers_takes_its_own_file_as_checkpoint(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "folder"
    config, _ = written(folder, "transformers")
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig.from_pretrained(config))
    model.save_pretrained(folder)
    monkeypatch.chdir(tmp_path)

    network = load_network(load_config(form.format(folder)), "folder/model.safetensors")
    assert network.keys is not None
    assert network.keys.missing == network.keys.unexpected == 0
    for name, value in model.state_dict().items():
        torch.testing.assert_close(network.model.state_dict()[name], value)
