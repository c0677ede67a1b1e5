"""The catalog: which names there are, and what is said of their weights is so on this machine."""

import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import torch

from camtool.config.names import zoo_models
from camtool.config.shipped import own_names
from camtool.errors import ConfigError
from camtool.models import catalog as room
from camtool.models.catalog import ABSENT, DOWNLOADED, INSTALLED, NONE, NOT_INSTALLED, SOURCES, CatalogEntry, catalog
from tests.models.fixtures import LITE0


@pytest.fixture(autouse=True)
def nothing_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a network and with empty caches; returns the folder of torch's downloads."""

    def refuse(*_: Any) -> None:
        pytest.fail("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    return tmp_path / "checkpoints"


def _by_name(text: str, *sources: str) -> dict[str, CatalogEntry]:
    return {entry.name: entry for entry in catalog(text, *([sources] if sources else []))}


def test_own_configs_come_first_then_the_zoos_each_once() -> None:
    names = [entry.name for entry in catalog()]
    own = list(own_names())
    assert names[: len(own)] == own
    assert names[len(own) :] == [name for name in zoo_models() if name not in {name.casefold() for name in own}]


def test_the_weights_of_own_configs() -> None:
    weights = {name: entry.weights for name, entry in _by_name("", "camtool").items()}
    assert {name for name, state in weights.items() if state == INSTALLED} == {
        "efficientnet-lite0_in1k",
        "colours",
        "bright_volume",
        "bright_signal",
        "codec-v6_ecg",
        "linknet3d_t1-head",
    }
    untrained = (
        "cam_config cnn_tiny_shapes cnn_tiny_signals cnn_tiny_volumes conv1d_tiny_signals vit_tiny_shapes vit_stem_tiny_shapes "
        "lenet_digits resnet18_cam_shapes resnet18_cam_imagenette-160px"
    )
    of_ones_own = "camtool::awesome_backbones/mobilenet_v3_small.py"
    assert {name for name, state in weights.items() if state == NONE} == {*untrained.split(), of_ones_own}
    assert {*weights.values()} == {INSTALLED, NONE, ABSENT}
    assert _by_name("vit-base-patch16")["vit-base-patch16-224"].address == "hf-hub://google/vit-base-patch16-224"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("resnet18_8xb32_in1k", "camtool"),
        ("camtool::torchvision/resnet50.py", "camtool"),
        ("resnet34_8xb32_in1k", "mmpretrain"),
        ("torchvision/resnet18", "torchvision"),
    ],
)
def test_weights_are_at_hand_once_they_were_downloaded(name: str, source: str, nothing_downloaded: Path) -> None:
    before = _by_name(name, source)[name]
    assert (before.weights, before.at_hand) == (ABSENT, False)
    nothing_downloaded.mkdir()
    (nothing_downloaded / Path(urlparse(str(before.address)).path).name).touch()

    after = _by_name(name, source)[name]

    assert (after.weights, after.at_hand, after.address) == (DOWNLOADED, True, before.address)


def test_weights_of_the_hub_are_at_hand_once_they_were_downloaded(tmp_path: Path) -> None:
    names = {"vit-base-patch16-224": "camtool", "timm/resnet50.a1_in1k": "timm"}
    for repository in ("google--vit-base-patch16-224", "timm--resnet50.a1_in1k"):
        folder = tmp_path / f"hf/models--{repository}"
        for file, text in ((folder / "snapshots/0abc/model.safetensors", ""), (folder / "refs/main", "0abc")):
            file.parent.mkdir(parents=True)
            file.write_text(text)

    assert {name: _by_name(name, source)[name].weights for name, source in names.items()} == dict.fromkeys(names, DOWNLOADED)
    assert _by_name("resnet50.a2_in1k", "timm")["timm/resnet50.a2_in1k"].weights == ABSENT


def test_weights_in_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_local", lambda _: None)
    entry = _by_name("lite0")["efficientnet-lite0_in1k"]
    assert (entry.weights, entry.at_hand) == (NOT_INSTALLED, False)


def test_names_are_chosen_by_a_part_of_them_in_any_case() -> None:
    assert list(_by_name("LITE0")) == ["efficientnet-lite0_in1k"]
    assert list(_by_name("a0_8xB32")) == ["repvgg-A0_8xb32_in1k"]
    assert _by_name("no such name") == {}


def test_names_of_libraries_are_listed_as_they_are_typed() -> None:
    entries = catalog("resnet50", SOURCES[::-1])
    assert list(dict.fromkeys(entry.source for entry in entries)) == list(SOURCES)
    names = {entry.name for entry in entries}
    assert names >= {"timm/resnet50", "timm/resnet50.a1_in1k", "torchvision/resnet50", "torchvision/wide_resnet50_2"}
    assert _by_name("cspresnet50d", "timm")["timm/cspresnet50d"].weights == NONE


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown source 'tim'; closest: 'timm'; expected camtool, mmpretrain, timm, torchvision"):
        catalog(sources=["camtool", "tim"])


@pytest.mark.filterwarnings("ignore:.*its weights are taken, its code is not run")  # of a TorchScript file
def test_what_is_listed_as_at_hand_loads() -> None:
    from camtool.config.loading import load_config
    from camtool.models import load_network

    for entry in catalog(sources=["camtool"]):
        if entry.at_hand:
            assert load_network(load_config(entry.name)).checkpoint == entry.address or entry.address is None
    assert load_config("efficientnet-lite0_in1k").config.filename == LITE0
