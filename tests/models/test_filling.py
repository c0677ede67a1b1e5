"""What of a network a checkpoint filled: measured on the network, whatever it reports."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import save_model
from torch import Tensor, nn

from camtool.errors import CamtoolWarning, CheckpointError
from camtool.models.checkpoints import best_fit, read_checkpoint
from camtool.models.filling import KeyCounts, load_into, own_tensors


class Adapted(nn.Module):
    """A network of frozen base weights and adapters, as LoRA makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.lora_A = nn.Linear(4, 2, bias=False)
        self.lora_B = nn.Linear(2, 4, bias=False)

    def adapters(self) -> dict[str, Tensor]:
        return {name: value + 1 for name, value in nn.Module.state_dict(self).items() if "lora_" in name}


class OwnStateDict(Adapted):
    """Saves and loads the adapters alone."""

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        return {name: value for name, value in super().state_dict().items() if "lora_" in name}

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> None:  # type: ignore[override]
        super().load_state_dict(state, strict=False)


class Completing(Adapted):
    """Completes what it is given from its own weights: the usual `own.update(given)`."""

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict({**self.state_dict(), **state}, strict=strict)


class Forgiving(Adapted):
    """Clears the missing keys, as recipes for adapters do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(lambda _, keys: keys.missing_keys.clear())


class Filtering(Adapted):
    """Takes what has its shapes, in silence."""

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> Any:
        own = self.state_dict()
        fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
        return super().load_state_dict({**own, **fitting}, strict=strict)


@pytest.mark.parametrize("network", [Adapted, OwnStateDict, Completing, Forgiving, Filtering])
def test_adapters_alone_are_not_a_whole_network(network: type[Adapted]) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in own_tensors(model).items()}
    message = r"2 of 9 keys loaded, 7 missing, 0 unexpected\. Missing parameters: conv\.weight, conv\.bias.*LoRA adapters: merge them"
    with pytest.raises(CheckpointError, match=message):
        load_into(model, model.adapters(), "lora.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in own_tensors(model).items() if "lora_" not in name)


@pytest.mark.parametrize("network", [Adapted, Completing, Forgiving, Filtering])
def test_the_same_networks_take_a_whole_file(network: type[Adapted]) -> None:
    model = network()
    state = {name: value + 1 for name, value in network().state_dict().items()}
    assert load_into(model, state, "all.pth") == KeyCounts(9, 0, 0)
    assert all(torch.equal(tensor, state[name]) for name, tensor in own_tensors(model).items())


def test_another_shape_that_a_network_passes_over_is_missing() -> None:
    model = Filtering()
    state = {name: value + 1 for name, value in model.state_dict().items()}
    state["conv.bias"] = torch.ones(7)
    with pytest.raises(CheckpointError, match=r"8 of 9 keys loaded, 1 missing.*Missing parameters: conv\.bias"):
        load_into(model, state, "a.pth")


def test_whatever_part_is_missing_is_counted() -> None:
    draw = random.Random(0)
    for network in (Adapted, Completing, Forgiving, Filtering) * 10:
        model = network()
        buffers = [name for name in own_tensors(model) if "running" in name]
        state = {name: value + 1 for name, value in model.state_dict().items()}
        left_out = draw.sample(buffers, draw.randint(1, len(buffers)))
        before = {name: own_tensors(model)[name].clone() for name in left_out}
        for name in left_out:
            del state[name]
        with pytest.warns(CamtoolWarning, match=rf"missing buffers .*{left_out[0]}"):
            assert load_into(model, state, "a.pth") == KeyCounts(9 - len(left_out), len(left_out), 0)
        assert all(torch.equal(own_tensors(model)[name], value) for name, value in before.items())


class Renaming(nn.Module):
    """Saves and loads under other names than its own, as networks that keep their files' names do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> Any:
        return self.inner.load_state_dict(state, strict=strict)


def test_a_network_with_names_of_its_own_for_files_is_filled() -> None:
    model = Renaming()
    state = {name: value.clone() for name, value in model.state_dict().items()}  # equal to what is there: filled all the same
    assert load_into(model, state, "a.pth") == KeyCounts(2, 0, 0)


class ByData(nn.Linear):
    """Loads by `.data`, which no counter of torch sees."""

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> Any:
        for name, value in state.items():
            self.get_parameter(name).data.copy_(value)


def test_what_is_written_behind_torchs_back_is_filled() -> None:
    model = ByData(2, 1)
    assert load_into(model, {"weight": torch.ones(1, 2), "bias": torch.ones(1)}, "a.pth") == KeyCounts(2, 0, 0)
    assert model.bias.item() == 1


@pytest.mark.parametrize(("name", "count"), [("weight", 2), ("bias", 2)])
def test_complex_and_integer_weights_are_refused(name: str, count: int) -> None:
    for dtype, expected in ((torch.complex64, "real"), (torch.int8, "floating-point"), (torch.bool, "floating-point")):
        model = nn.Linear(2, 2)
        state = {key: value.to(dtype if key == name else value.dtype) for key, value in model.state_dict().items()}
        word = str(dtype).removeprefix("torch.")
        with pytest.raises(CheckpointError, match=f"{name} is {word} in the checkpoint and float32 in the network. Expected {expected}"):
            load_into(nn.Linear(2, 2), state, "a.pth")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_of_another_width_is_taken(dtype: torch.dtype) -> None:
    assert load_into(nn.Linear(2, 2), nn.Linear(2, 2, dtype=dtype).state_dict(), "a.pth") == KeyCounts(2, 0, 0)


def test_complex_weights_of_a_complex_network_are_taken() -> None:
    model, theirs = nn.Linear(2, 2, dtype=torch.complex64), nn.Linear(2, 2, dtype=torch.complex64)
    assert load_into(model, theirs.state_dict(), "a.pth") == KeyCounts(2, 0, 0)
    assert torch.equal(model.weight, theirs.weight)


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight


def test_tied_weights_of_safetensors_are_whole(tmp_path: Any) -> None:
    theirs, model = Tied(), Tied()
    save_model(theirs, str(tmp_path / "tied.safetensors"))
    read = read_checkpoint(str(tmp_path / "tied.safetensors"))
    assert len(read.state) == 3
    assert load_into(model, best_fit(model.state_dict(), read.state), read.address) == KeyCounts(4, 0, 0)
    assert torch.equal(model.second.weight, theirs.first.weight)
    assert model.second.weight is model.first.weight


def test_different_weights_for_tied_layers_are_refused() -> None:
    state = {name: value + number for number, (name, value) in enumerate(Tied().state_dict().items())}
    with pytest.raises(CheckpointError, match=r"different weights for first\.weight and second\.weight, which are one tensor"):
        load_into(Tied(), state, "untied.pth")


class Strict(Tied):
    """Loads strictly whatever it is told."""

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state, strict=True)


def test_a_strict_network_with_tied_weights_is_given_every_name() -> None:
    state = {name: value + 1 for name, value in Tied().state_dict().items() if name != "second.weight"}
    assert load_into(Strict(), state, "a.pth") == KeyCounts(4, 0, 0)


class Scaling(nn.Linear):
    """Stores its weight scaled."""

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict({name: 2 * value for name, value in state.items()}, strict=strict)


def test_what_is_converted_on_its_way_in_is_filled() -> None:
    assert load_into(Scaling(2, 1), {"weight": torch.ones(1, 2), "bias": torch.ones(1)}, "a.pth") == KeyCounts(2, 0, 0)
