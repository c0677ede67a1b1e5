"""Weights into networks: nothing missing, nothing of another shape."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from camtool.config.loading import LoadedConfig, load_config
from camtool.errors import CamtoolError, CamtoolWarning, CheckpointError, ConfigError
from camtool.models import Network, load_network
from camtool.models.checkpoints import map_keys
from camtool.models.loading import check_device
from tests.models.fixtures import LITE0, SMALL

Save = Callable[..., str]
State = dict[str, Tensor]


def test_a_checkpoint_of_this_network_is_loaded_whole(small: LoadedConfig, state: State, saved: Save) -> None:
    path = saved({"state_dict": state})
    network = load_network(small, path)
    for key, value in network.model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert network.checkpoint == path
    assert network.digest is not None
    assert len(network.digest) == 64


def test_the_network_is_ready_to_be_asked(small_network: Network) -> None:
    assert not any(module.training for module in small_network.model.modules())
    assert not any(parameter.requires_grad for parameter in small_network.model.parameters())
    assert (small_network.checkpoint, small_network.digest) == (None, None)


def test_missing_parameters_are_fatal_and_counted(small: LoadedConfig, state: State, saved: Save) -> None:
    expected = len(state)
    del state["head.fc.weight"], state["head.fc.bias"]
    state["classifier.weight"] = torch.ones(1)
    message = (
        rf"does not fit this network: {expected - 2} of {expected} keys loaded, 2 missing, 1 unexpected\. "
        r"Missing parameters: head\.fc\.weight, head\.fc\.bias\. Unexpected: classifier\.weight\. .*cam\.checkpoint_keys"
    )
    with pytest.raises(CheckpointError, match=message):
        load_network(small, saved(state))


def test_many_missing_parameters_are_abridged(small: LoadedConfig, saved: Save) -> None:
    counts = ": 0 of 122 keys loaded, 122 missing, 1 unexpected"
    with pytest.raises(CheckpointError, match=rf"{counts}.*Missing parameters: backbone\.conv1\.weight, .* … \(\d+ in all\)"):
        load_network(small, saved({"a": torch.ones(1)}))


def test_a_missing_buffer_and_an_unexpected_key_warn(small: LoadedConfig, state: State, saved: Save) -> None:
    del state["backbone.bn1.running_mean"]
    state["ema.decay"] = torch.ones(1)
    with pytest.warns(
        CamtoolWarning, match=r"121 of 122 .* 1 missing, 1 unexpected: missing buffers backbone\.bn1\.running_mean; unexpected ema"
    ):
        network = load_network(small, saved(state))
    assert torch.equal(network.model.get_parameter("head.fc.bias"), state["head.fc.bias"])


def test_a_head_of_another_size_says_which_option_makes_one(small: LoadedConfig, state: State, saved: Save) -> None:
    state["head.fc.weight"], state["head.fc.bias"] = torch.ones(12, 64), torch.ones(12)
    message = (
        r"2 shapes differ: head\.fc\.weight is \[12, 64\] in the checkpoint and \[5, 64\] in the network; "
        r"head\.fc\.bias is \[12\] in the checkpoint and \[5\] in the network\. "
        r"The checkpoint has 12 classes; try --cfg-options model\.head\.num_classes=12\.$"
    )
    with pytest.raises(CheckpointError, match=message):
        load_network(small, saved(state))


def test_the_option_that_the_message_names_works(small_path: Path, state: State, saved: Save) -> None:
    state["head.fc.weight"], state["head.fc.bias"] = torch.ones(12, 64), torch.ones(12)
    network = load_network(load_config(str(small_path), {"model.head.num_classes": 12}), saved(state))
    assert network.model.get_parameter("head.fc.bias").shape == (12,)


@pytest.mark.parametrize("shape", [(8, 1, 7, 7), (16, 3, 7, 7)])
def test_another_shape_elsewhere_is_fatal_without_that_hint(small: LoadedConfig, state: State, saved: Save, shape: tuple[int, ...]) -> None:
    state["backbone.conv1.weight"] = torch.ones(shape)
    message = re.escape(f"1 shapes differ: backbone.conv1.weight is {list(shape)} in the checkpoint and [8, 3, 7, 7] in the network.") + "$"
    with pytest.raises(CheckpointError, match=message):
        load_network(small, saved(state))


# map_keys


def test_key_rules_apply_one_after_the_other() -> None:
    state = {"a.x": torch.ones(1), "b.x": torch.zeros(1)}
    assert set(map_keys(state, [(r"^a\.", "b_"), (r"^b", "c")])) == {"c_x", "c.x"}
    assert set(map_keys(state, [(r"^b", "c"), (r"^a\.", "b_")])) == {"b_x", "c.x"}
    assert set(state) == {"a.x", "b.x"}


def test_key_rules_know_groups() -> None:
    assert set(map_keys({"layer12.w": torch.ones(1)}, [(r"layer(\d)(\d)", r"layers.\1.\2")])) == {"layers.1.2.w"}


def test_two_keys_on_one_name_are_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"cam\.checkpoint_keys maps several keys to 'c', 'b' among them"):
        map_keys({"a": torch.ones(1), "b": torch.ones(1)}, [("a|b", "c")])


@pytest.mark.parametrize("rules", [[("(", "x")], [("a", r"\1")], [("a",)], ["abc"], [(1, 2)]])
def test_a_rule_that_is_none_is_an_error(rules: Any) -> None:
    with pytest.raises(CheckpointError, match=r"cam\.checkpoint_keys must be a list of \(regular expression, replacement\)"):
        map_keys({"a": torch.ones(1)}, rules)


def test_a_configs_rules_serve_its_foreign_checkpoint_and_its_own_kind_alike(small_path: Path, state: State, saved: Save) -> None:
    rules = [[r"^fc\.", "head.fc."], [r"^(?!head\.)", "backbone."]]
    loaded = load_config(str(small_path), {"cam": {"checkpoint_keys": rules}})
    foreign = {re.sub(r"^(head|backbone)\.", "", key): value for key, value in state.items()}
    for content in (foreign, state):
        network = load_network(loaded, saved(content))
        assert all(torch.equal(value, state[key]) for key, value in network.model.state_dict().items())


# which checkpoint


def test_the_argument_beats_load_from_beats_init_cfg(config_file: Callable[..., str], state: State, saved: Save) -> None:
    argument, load_from, init = (saved({**state, "head.fc.bias": torch.full((5,), float(value))}, f"{value}.pth") for value in range(3))
    init_cfg = f"model['init_cfg'] = dict(type='Pretrained', checkpoint='{init}')\n"
    for text, given, expected in (
        (SMALL + init_cfg, None, 2),
        (SMALL + init_cfg + f"load_from = '{load_from}'\n", None, 1),
        (SMALL + init_cfg + f"load_from = '{load_from}'\n", argument, 0),
    ):
        network = load_network(load_config(config_file(text)), given)
        assert network.model.get_parameter("head.fc.bias").unique().tolist() == [expected]
        assert str(network.checkpoint).endswith(f"{expected}.pth")


def test_a_checkpoint_and_random_weights_are_refused_together(config_file: Callable[..., str], state: State, saved: Save) -> None:
    path = saved(state)
    with pytest.raises(
        CheckpointError, match=r"Expected a checkpoint or random weights, got both: CHECKPOINT '.*\.pth' and --random-weights"
    ):
        load_network(load_config(config_file(SMALL)), path, random_weights=True)
    named = load_network(load_config(config_file(SMALL + f"load_from = {path!r}\n")), random_weights=True)  # of a config: overruled
    assert named.checkpoint is None


@pytest.mark.parametrize("name", ["TorchModel", "TimmModel", "TorchvisionModel", "HuggingFaceModel"])
def test_a_type_of_camtool_without_its_scope_is_named(name: str, config_file: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match=f"Unknown model type '{name}' in .*; expected 'camtool.{name}'"):
        load_network(load_config(config_file(f"model = dict(type='{name}')")), random_weights=True)


def test_a_zoo_name_falls_back_to_the_published_weights(small: LoadedConfig, state: State, saved: Save) -> None:
    published = saved(state)
    network = load_network(LoadedConfig(small.config, "small", zoo_weights=published))
    assert network.checkpoint == published


def test_without_any_checkpoint_the_ways_out_are_named(small: LoadedConfig) -> None:
    with pytest.raises(
        CheckpointError, match=r"names no checkpoint\. Give one as the third argument or as 'load_from' .* by --random-weights"
    ):
        load_network(small)


# what cannot be built


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.type": "ImageClasifier"}, "unknown model type 'ImageClasifier'; closest: 'ImageClassifier'"),
        ({"model.backbone.type": "ResNett"}, "unknown model type 'ResNett'; closest: 'ResNet'"),
        ({"model.head.type": "LinearClshead"}, "unknown model type 'LinearClshead'; closest: 'LinearClsHead'"),
        ({"model.head.num_clases": 3}, "unexpected keyword argument 'num_clases'"),
        ({"model.head": None}, "is not a classifier: it has no head. Expected an ImageClassifier with a head"),
        ({"test_dataloader.dataset.pipeline.1.type": "ResizeEdg"}, "Unknown transform 'ResizeEdg' .*; closest: 'ResizeEdge'"),
        ({"test_dataloader.dataset.pipeline.1.scael": 3}, "Transform 'ResizeEdge' of the test pipeline cannot be built: .*'scael'"),
        (
            {"test_dataloader.dataset.pipeline.0.type": "Resize"},
            "does not begin with LoadImageFromFile, and the image size of its data set 'CustomDataset' is unknown",
        ),
    ],
)
def test_what_cannot_be_built_is_named(small_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_network(load_config(str(small_path), options), random_weights=True)


def test_weights_of_a_part_are_not_fetched(small_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        pytest.fail("a network was asked for")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("camtool.models.hub.unreachable", lambda _: "")
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    options = {"model.backbone.init_cfg": {"type": "Pretrained", "checkpoint": "https://weights.example.org/a.pth"}}
    load_network(load_config(str(small_path), options), random_weights=True)
    load_network(load_config(str(small_path), {"model.pretrained": "https://weights.example.org/a.pth"}), random_weights=True)
    load_network(load_config(LITE0, {"model.backbone.pretrained": True}), random_weights=True)


# random weights


def test_random_weights_are_seeded(small: LoadedConfig, small_network: Network) -> None:
    first = small_network.model.state_dict()
    again, other = (load_network(small, random_weights=True, seed=seed).model.state_dict() for seed in (7, 8))
    assert all(torch.equal(first[key], again[key]) for key in first)
    parameters = [name for name, _ in small_network.model.named_parameters()]
    assert not any(torch.equal(first[name], other[name]) for name in parameters)


def test_no_random_parameter_is_left_at_zero_or_constant(small_network: Network) -> None:
    for name, parameter in small_network.model.named_parameters():
        assert parameter.unique().numel() > 0.99 * parameter.numel() > 1, name
        assert (parameter != 0).all(), name
    bias = small_network.model.get_parameter("head.fc.bias")  # initialised to zero: what is there is the 0.02 N(0, 1)
    assert 0.002 < bias.std() < 0.08
    weight = small_network.model.get_parameter("head.fc.weight")  # N(0, 0.01) by the head's own init_cfg
    assert weight.std().item() == pytest.approx((0.01**2 + 0.02**2) ** 0.5, rel=0.2)


def test_loading_leaves_the_callers_random_numbers_alone(small: LoadedConfig, saved: Save, state: State) -> None:
    path = saved(state)
    before = (torch.get_rng_state(), np.random.get_state()[1].copy())
    load_network(small, random_weights=True, seed=3)
    load_network(small, path)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


def test_the_config_is_not_changed_by_building_from_it(small_path: Path) -> None:
    loaded = load_config(str(small_path), {"model.backbone.init_cfg": {"type": "Pretrained", "checkpoint": "a.pth"}})
    before = loaded.config.pretty_text
    load_network(loaded, random_weights=True)
    assert loaded.config.pretty_text == before


# devices


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cpu0", "CPU"])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    with pytest.raises(CamtoolError, match=rf"Unknown device '{device}'; expected cpu, cuda, cuda:1 or mps"):
        check_device(device)


def test_a_device_that_cannot_hold_weights_is_refused() -> None:
    with pytest.raises(CamtoolError, match="Device 'meta' is not supported"):
        check_device("meta")


def test_cuda_without_one_is_refused_before_anything_is_loaded(small: LoadedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(CamtoolError, match=r"Device 'cuda' is not available: torch finds 0 CUDA devices\. Use --device cpu"):
        load_network(small, "no such file", device="cuda")


def test_a_cuda_device_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert check_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(CamtoolError, match="Device 'cuda:1' is not available: torch finds 1 CUDA devices"):
        check_device("cuda:1")


def test_mps_without_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(CamtoolError, match="Device 'mps' is not available"):
        check_device("mps")
