"""Checkpoints as trainers write them: every form gives the same weights, and the counts of keys say so."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from camtool.config.loading import LoadedConfig, load_config
from camtool.errors import CamtoolWarning, CheckpointError
from camtool.models import load_network
from camtool.models.checkpoints import KeyCounts

Save = Callable[..., str]
State = dict[str, Tensor]

TORCHVISION_KEYS = [(r"^fc\.", "head.fc."), (r"^(?=(conv1|bn1|layer[1-4])\.)", "backbone.")]
"""cam.checkpoint_keys for a ResNet of mmpretrain whose checkpoint has the keys of torchvision's."""

RESNET18 = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512))
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]
"""


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "raw": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {}, "epoch": 3, "best_acc": 0.9},
    "raw, model.": lambda state: prefixed(state, "model."),
    "model_state_dict, model.": lambda state: {"model_state_dict": prefixed(state, "model.")},
    "state_dict, module.": lambda state: {"state_dict": prefixed(state, "module.")},
    "state_dict, module.model.": lambda state: {"state_dict": prefixed(state, "module.model.")},
    "state_dict, model.module.": lambda state: {"state_dict": prefixed(state, "model.module.")},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_weights_and_the_counts(small: LoadedConfig, state: State, saved: Save, form: str) -> None:
    network = load_network(small, saved(FORMS[form](state)))

    assert network.keys == KeyCounts(loaded=len(state), missing=0, unexpected=0)
    assert str(network.keys) == f"{len(state)} of {len(state)} keys loaded, 0 missing, 0 unexpected"
    for key, value in network.model.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("prefix", ["", "model."])
def test_safetensors_give_them_too(small: LoadedConfig, state: State, tmp_path: Path, prefix: str) -> None:
    save_file(prefixed(state, prefix), tmp_path / "weights.safetensors")

    network = load_network(small, str(tmp_path / "weights.safetensors"))
    assert network.keys == KeyCounts(len(state), 0, 0)
    assert torch.equal(network.model.get_parameter("head.fc.bias"), state["head.fc.bias"])


def test_what_is_missing_and_unexpected_is_counted(small: LoadedConfig, state: State, saved: Save) -> None:
    expected = len(state)
    del state["backbone.bn1.running_mean"], state["backbone.bn1.running_var"]
    state["ema.decay"] = torch.ones(1)

    with pytest.warns(CamtoolWarning, match="missing buffers"):
        assert load_network(small, saved(state)).keys == KeyCounts(expected - 2, 2, 1)


def test_old_files_without_counts_of_batches_are_told_in_the_counts_alone(small: LoadedConfig, state: State, saved: Save) -> None:
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    with warnings.catch_warnings():
        warnings.simplefilter("error", CamtoolWarning)
        assert load_network(small, saved(old)).keys == KeyCounts(102, 20, 0)


def test_random_weights_have_no_counts(small: LoadedConfig) -> None:
    assert load_network(small, random_weights=True).keys is None


OWN = """
from torch import nn


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    def forward(self, picture):
        return self.model(picture)
"""


@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
def test_a_network_that_keeps_its_layers_under_model_is_loaded_with_and_without(
    config_file: Callable[..., str], saved: Save, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prefix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    loaded = load_config(
        config_file(
            "model = dict(type='camtool.TorchModel', factory='own.py:Own', preprocess=dict(resize=8, mean=[0.5] * 3, std=[0.5] * 3))"
        )
    )
    state = {key.removeprefix("model."): value + 1 for key, value in load_network(loaded, random_weights=True).model.state_dict().items()}

    network = load_network(loaded, saved(prefixed(state, prefix)))
    assert network.keys == KeyCounts(4, 0, 0)
    assert torch.equal(network.model.get_parameter("model.0.weight"), state["0.weight"])


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """Torchvision's ResNet-18 of ten classes, its running statistics not those of a new one."""
    import torchvision

    torch.manual_seed(3)
    model = torchvision.models.resnet18(num_classes=10)
    model(torch.randn(8, 3, 64, 64))
    return model.eval()


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_with_torchvisions_keys_gives_the_same_logits(
    config_file: Callable[..., str], saved: Save, theirs: nn.Module, form: str
) -> None:
    loaded = load_config(config_file(RESNET18 + f"cam = dict(checkpoint_keys={TORCHVISION_KEYS!r})\n"))
    network = load_network(loaded, saved(FORMS[form](theirs.state_dict())))

    pictures = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.model(pictures), theirs(pictures), rtol=1e-5, atol=1e-5)
    assert network.keys == KeyCounts(122, 0, 0)


class HeldTwice(nn.Module):
    """A ResNet under `model` whose layers before the pooling are held a second time, for their output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.features_extractor = nn.Sequential(*list(model.children())[:-2])


def test_layers_that_a_checkpoint_holds_twice_are_loaded_once(config_file: Callable[..., str], saved: Save, theirs: nn.Module) -> None:
    loaded = load_config(config_file(RESNET18 + f"cam = dict(checkpoint_keys={TORCHVISION_KEYS!r})\n"))
    content = {"epoch": 3, "model_state_dict": HeldTwice(theirs).state_dict(), "optimizer_state_dict": {}, "loss": 0.1, "accuracy": 98.5}

    with pytest.warns(CamtoolWarning, match=r"122 of 122 keys loaded, 0 missing, 120 unexpected: unexpected features_extractor\.0\.weight"):
        network = load_network(loaded, saved(content))
    pictures = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.model(pictures), theirs(pictures), rtol=1e-5, atol=1e-5)


def test_weights_of_one_name_with_and_without_prefix_are_not_mixed(small: LoadedConfig, state: State, saved: Save) -> None:
    loaded = load_network(small, saved({"head.fc.bias": state["head.fc.bias"] + 1, **prefixed(state, "model.")}))
    assert torch.equal(loaded.model.get_parameter("head.fc.bias"), state["head.fc.bias"])

    with pytest.warns(CamtoolWarning, match="122 unexpected"):
        loaded = load_network(small, saved({**state, **prefixed({key: value + 1 for key, value in state.items()}, "model.")}))
    assert torch.equal(loaded.model.get_parameter("head.fc.bias"), state["head.fc.bias"])


def test_the_rules_leave_checkpoints_of_mmpretrain_alone(config_file: Callable[..., str], saved: Save) -> None:
    loaded = load_config(config_file(RESNET18 + f"cam = dict(checkpoint_keys={TORCHVISION_KEYS!r})\n"))
    own = load_network(loaded, random_weights=True).model.state_dict()

    network = load_network(loaded, saved({"state_dict": own}))
    assert network.keys == KeyCounts(122, 0, 0)
    assert all(torch.equal(value, own[key]) for key, value in network.model.state_dict().items())


def test_without_the_rules_the_refusal_names_the_key_that_they_go_under(
    config_file: Callable[..., str], saved: Save, theirs: nn.Module
) -> None:
    counts = re.escape(": 0 of 122 keys loaded, 122 missing, 122 unexpected")
    with pytest.raises(CheckpointError, match=f"{counts}.*cam.checkpoint_keys"):
        load_network(load_config(config_file(RESNET18)), saved(theirs.state_dict()))
