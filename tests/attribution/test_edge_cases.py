"""Edge cases of the engine, each with the mistake that it invites."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError, LayerError, MethodError, TargetError
from tests.networks import images, small_net


class SignalTransformer(nn.Module):
    """Tokens of a signal, (n, 32, 64): both axes could be positions of 512 samples."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv1d(1, 64, 16, 16, bias=False)
        self.norm = nn.LayerNorm(64)
        self.block = nn.TransformerEncoderLayer(64, 4, 32, batch_first=True)
        self.head = nn.Linear(64, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.block(self.norm(self.embed(inputs).transpose(1, 2))).mean(dim=1))


@pytest.mark.parametrize(("layer", "length"), [("embed", 32), ("norm", 32), ("block", 32), (None, 32)])
def test_tokens_of_a_signal_are_told_from_its_channels_by_the_layer(layer: str | None, length: int) -> None:
    result = CAM(SignalTransformer().eval(), layer)(torch.randn(2, 1, 512), 0)

    assert [raw.shape for raw in result.raw.values()] == [(2, length)]


def test_an_in_place_first_layer_does_not_write_into_the_callers_inputs() -> None:
    inputs = images()
    before = inputs.clone()

    CAM(nn.Sequential(nn.ReLU(inplace=True), small_net()), "[1].early")(inputs, 1)

    assert torch.equal(inputs, before)


def test_one_method_with_two_settings_is_two_and_twice_the_same_is_once() -> None:
    fems: list[Any] = [{"type": "FEM", "k": 0.5}, {"type": "FEM", "k": 2.0}]

    assert list(CAM(small_net(), "early", fems).methods) == ["fem(k=0.5)", "fem"]
    assert list(CAM(small_net(), "early", ["fem", "FEM"]).methods) == ["fem"]


@pytest.mark.parametrize("spec", [{"type": "FEM", "k": "much"}, {"type": "RandomCAM", "seed": "x"}])
def test_a_setting_of_the_wrong_kind_is_told_when_the_method_is_built(spec: dict[str, Any]) -> None:
    with pytest.raises(MethodError, match=spec["type"].lower()):
        CAM(small_net(), "early", spec)


class Tokens(nn.Module):
    """Nothing but linear layers with spatial extent."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(32, 6), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        patches = nn.functional.unfold(inputs, 4, stride=4).transpose(1, 2)  # (n, 4, 32)
        return self.head(self.embed(patches).relu().mean(dim=1))


def test_a_linear_layer_is_the_default_where_there_is_no_other() -> None:
    cam = CAM(Tokens())
    cam(torch.randn(1, 2, 8, 8), 0)

    assert cam.target_layers == ["embed"]


def test_last_norm_stands_alone() -> None:
    with pytest.raises(LayerError, match="give it alone"):
        CAM(small_net(), ["last-norm", "early"])


def test_a_target_that_gives_a_plain_number_is_refused_in_words() -> None:
    with pytest.raises(TargetError, match="gave a float"):
        CAM(small_net(), "early")(images(), lambda _scores: 3.0)


def test_cam_works_under_autocast() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    inputs = torch.randn(2, 3, 16, 16)
    plain = CAM(model, "[1]", "cam")(inputs, 1).maps

    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = CAM(model, "[1]", "cam")(inputs, 1).maps

    assert (plain - cast).abs().max() < 0.05


def _compiled_part(model: nn.Module) -> nn.Module:
    model.early = torch.compile(model.early, backend="eager")  # type: ignore[assignment]
    return model


def _compiled_forward(model: nn.Module) -> nn.Module:
    model.forward = torch.compile(model.forward, backend="eager")  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize("compiled", [_compiled_part, _compiled_forward])
def test_a_model_with_compiled_parts_is_refused_in_words(compiled: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(CamtoolError, match="compiled"):
        CAM(compiled(small_net()), "early")


def test_maps_of_several_classes_are_memory_of_their_own() -> None:
    raw = CAM(small_net(), "early", "eigencam")(images(), [[0, 1], [0, 1]]).raw["early"]

    raw[:, 0] = 7

    assert not (raw[:, 1] == 7).any()
