"""The engine: what may be asked, that one forward answers it, and what the result says."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM, CAMResult
from camtool.errors import CamtoolWarning
from camtool.layouts import ChannelsLast
from camtool.targets import ClassProbability, ClassScore, top_k
from tests.networks import CLASSES, SIZES, autograd_evidence, images, small_net


def explained(*arguments: Any, **options: Any) -> CAMResult:
    """Return the result of LayerCAM, whose maps of SmallNet's `early` are positive for every class."""
    return CAM(small_net(), "early", "layercam", **options)(*arguments)


def test_the_map_of_a_probability_that_is_almost_1_reaches_1() -> None:
    model, inputs = small_net(), images()
    with torch.no_grad():
        model.fc.bias.copy_(torch.tensor([0.0, 16.0, 0.0, 0.0]))  # p (1 - p) is 3e-7
    result = CAM(model, "early", "layercam")(inputs, ClassProbability(1))
    assert result.raw["early"].abs().max() < 1e-6
    torch.testing.assert_close(result.maps.flatten(1).amax(1), torch.ones(2))


@pytest.mark.parametrize("caller", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("layers", ["early", None], ids=["given", "derived"])
def test_the_callers_grad_mode_also_around_the_inputs_changes_nothing(caller: Callable[[], Any], layers: str | None) -> None:
    model = small_net()
    expected = CAM(model, layers, "layercam")(images(), 1)
    with caller():
        inputs = images()
        assert inputs.is_inference() is (caller is torch.inference_mode)
        result = CAM(model, layers, "layercam")(inputs, 1)
        assert not result.maps.is_inference(), "a result can be used anywhere"
    assert torch.equal(result.maps, expected.maps)


def test_inputs_made_under_inference_mode_may_be_read_again_behind_the_target_layer() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Conv2d(2, 2, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            return (self.gate(inputs) * inputs).mean((2, 3))

    with torch.inference_mode():
        inputs = images()
    raw = CAM(Gated(), "gate", "layercam")(inputs, 1).raw["gate"]
    assert raw.isfinite().all()


def test_frozen_parameters_change_nothing() -> None:
    model = small_net().requires_grad_(False)
    assert torch.equal(CAM(model, "early", "layercam")(images(), 1).maps, explained(images(), 1).maps)


@pytest.mark.parametrize("train", ["", "early", "late", "dropout"])
def test_train_mode_of_all_or_part_of_the_network_changes_nothing(train: str) -> None:
    model = small_net()
    model.get_submodule(train).train()
    result = CAM(model, "early", "layercam")(images(), 1)
    assert torch.equal(result.maps, explained(images(), 1).maps)
    assert torch.equal(result.logits, explained(images(), 1).logits)


class Wrapped(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.network, self.wrap = small_net(), wrap

    def forward(self, inputs: Tensor) -> Any:
        return self.wrap(self.network(inputs))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: (logits, None),
        lambda logits: [torch.zeros(7), logits],
        lambda logits: {"logits": logits, "features": torch.zeros(2, 9)},
        lambda logits: {"out": logits},
        lambda logits: SimpleNamespace(loss=None, logits=logits),
    ],
    ids=["tuple", "list", "dict of logits", "dict", "object"],
)
def test_scores_are_found_in_tuples_dicts_and_objects(wrap: Callable[[Tensor], Any]) -> None:
    result = CAM(Wrapped(wrap), "network.early", "layercam")(images(), 1)
    assert torch.equal(result.maps, explained(images(), 1).maps)
    assert result.layers == ["network.early"]


@pytest.mark.parametrize("one", [2, np.int64(2), torch.tensor(2), ClassScore(2), lambda logits: logits[2]])
def test_one_class_in_any_form_gives_one_map_a_sample(one: Any) -> None:
    expected = explained(images(), 2)
    for targets in (one, [one, one], (one, one)):
        result = explained(images(), targets)
        assert torch.equal(result.maps, expected.maps)
        assert result.maps.shape == (2, *SIZES[2])
        assert len(result.status) == 2


def test_no_target_is_the_predicted_class_of_each_sample() -> None:
    inputs = images(count=6) * 10
    result = explained(inputs)
    assert len(set(result.targets)) > 1, "else the test could not tell samples apart"
    assert result.targets == result.predicted == result.logits.argmax(dim=1).tolist()
    assert torch.equal(result.maps, explained(inputs, result.targets).maps)


def test_lists_of_classes_give_an_axis_of_targets() -> None:
    result = explained(images(), [[0, 3, 1], [2, 2, 0]])
    assert result.maps.shape == (2, 3, *SIZES[2])
    assert result.raw["early"].shape == (2, 3, 5, 7)
    assert result.layer_maps["early"].shape == (2, 3, *SIZES[2])
    assert result.targets == [[0, 3, 1], [2, 2, 0]]
    assert result.status == [["ok"] * 3] * 2
    for k in range(3):
        single = explained(images(), [result.targets[0][k], result.targets[1][k]])
        torch.testing.assert_close(result.maps[:, k], single.maps)
    assert explained(images(), [[1], [1]]).maps.shape == (2, 1, *SIZES[2]), "a list of one keeps its axis"


def test_top_k_chooses_with_the_forward_pass_of_the_map() -> None:
    model, calls = small_net(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    result = CAM(model, "early", "layercam")(images(), top_k(2))
    assert len(calls) == 1
    assert result.targets == result.logits.topk(2).indices.tolist()


def test_a_callable_is_kept_in_the_result_as_given() -> None:
    def contrast(logits: Tensor) -> Tensor:
        return logits[1] - logits[0]

    result = CAM(small_net(), "early", "hirescam")(images(), [[contrast, 1, 0]] * 2)
    assert result.targets == [[contrast, 1, 0]] * 2
    raw = result.raw["early"]
    torch.testing.assert_close(raw[:, 0], raw[:, 1] - raw[:, 2], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_many_methods_classes_and_layers_share_one_forward_and_one_backward_a_class() -> None:
    model, forwards, backwards = small_net(), [], []
    model.register_forward_hook(lambda *_: forwards.append(1))
    model.pool.register_full_backward_hook(lambda *_: backwards.append(1))
    names = ["gradcam", "layercam", "eigencam", "fem", "gradcam++"]
    results = CAM(model, ["early", "late"], names)(images(), [[0, 1, 2]] * 2)
    assert list(results) == names
    assert len(forwards) == 1
    assert len(backwards) == 3
    for name in names:
        alone = CAM(small_net(), ["early", "late"], name)(images(), [[0, 1, 2]] * 2)
        torch.testing.assert_close(results[name].maps, alone.maps)


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_methods_without_gradients_take_no_backward_and_build_no_graph() -> None:
    model, graphs = small_net(), []
    model.fc.register_forward_hook(lambda *call: graphs.append(call[-1].requires_grad))
    CAM(model, "late", ["eigencam", "fem", "cam", "randomcam"])(images(), 1)
    assert graphs == [False]


def test_a_list_of_one_method_gives_a_dict_and_a_name_alone_does_not() -> None:
    assert list(CAM(small_net(), "early", ["layercam"])(images(), 1)) == ["layercam"]
    assert isinstance(explained(images(), 1), CAMResult)


def test_layers_may_be_paths_modules_or_both_and_are_named_canonically() -> None:
    model = small_net()
    result = CAM(model, ["early.-1", model.late, "late"], "layercam")(images(), 1)
    assert result.layers == ["early[2]", "late"]
    assert list(result.raw) == list(result.layer_maps) == result.layers
    assert CAM(model, model.early[0]).target_layers == ["early[0]"]


def test_a_given_layout_is_used() -> None:
    class Swinlike(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Identity()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(inputs.movedim(1, -1)).square().mean((1, 2))

    inputs = images(channels=3)
    found = CAM(Swinlike(), "last", "hirescam")(inputs, 1)
    for layout in ("ChannelsLast", {"type": "ChannelsLast"}, ChannelsLast()):
        given = CAM(Swinlike(), "last", "hirescam", layout=layout)(inputs, 1)
        assert torch.equal(given.maps, found.maps)
    positions = inputs[0, 0].numel()
    torch.testing.assert_close(given.raw["last"], 2 * inputs[:, 1].square() / positions)


def test_no_positive_evidence_is_a_blank_map_with_a_warning_and_a_status() -> None:
    model = small_net()
    with torch.no_grad():
        model.fc.weight[3] = -model.fc.weight[3].abs() - 0.1
    with pytest.warns(
        CamtoolWarning, match=r"gradcam, sample [01], target 3: no positive evidence for this target at this layer\."
    ) as caught:
        result = CAM(model, "late")(images(), 3)
    assert len(caught) == 2
    assert result.status == ["no positive evidence for this target at this layer"] * 2
    assert (result.maps == 0).all()
    assert result.raw["late"].amax() <= 0
    assert result.raw["late"].amin() < 0


def test_the_same_positive_evidence_everywhere_is_a_flat_map_with_a_status_of_its_own() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Identity()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(inputs).mean((2, 3))

    rounded = 1 + 1e-6 * torch.rand(1, 2, 8, 8)  # as sums over channels leave it
    for inputs in (torch.ones(1, 2, 8, 8), rounded):
        with pytest.warns(CamtoolWarning, match="flat map"):
            result = CAM(Flat(), "last")(inputs, 0)
        assert result.status == ["flat map: the same evidence at every position"]
        assert (result.maps == 0).all()
    assert CAM(Flat(), "last")(1 + 1e-3 * torch.rand(1, 2, 8, 8), 0).status == ["ok"]


def test_status_belongs_to_its_sample_and_target() -> None:
    model = small_net()
    with torch.no_grad():
        model.fc.weight[0] = 1.0
        model.fc.weight[1] = -1.0
    with pytest.warns(CamtoolWarning):
        result = CAM(model, "late")(images(), [[0, 1], [1, 0]])
    assert [[status == "ok" for status in row] for row in result.status] == [[True, False], [False, True]]


def test_a_layer_called_twice_is_explained_at_its_last_call_with_a_warning() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(2, CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.fc(self.conv(self.conv(inputs).relu()).relu().mean((2, 3)))

    model, inputs = Twice(), images()
    with pytest.warns(CamtoolWarning, match="Layer 'conv' is called 2 times in a forward pass; call=1 is explained"):
        result = CAM(model, "conv", "hirescam")(inputs, 1)
    last = model.conv(model.conv(inputs).relu()).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.fc(last.relu().mean((2, 3)))[:, 1].sum(), last)
    torch.testing.assert_close(result.raw["conv"], (gradient * last).sum(1).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_give_the_map_of_float32_nearly(dtype: torch.dtype) -> None:
    result = CAM(small_net().to(dtype), "early", "layercam")(images().to(dtype), 1)
    assert result.maps.dtype == torch.float32
    torch.testing.assert_close(result.maps, explained(images(), 1).maps, atol=0.05, rtol=0)


def test_the_arithmetic_of_a_bfloat16_network_is_float32() -> None:
    model, inputs = small_net().bfloat16(), images().bfloat16()
    activations, gradients, _ = autograd_evidence(model, model.early, inputs, [1, 1])
    result = CAM(model, "early", "hirescam")(inputs, 1)
    torch.testing.assert_close(result.raw["early"], (activations.float() * gradients.float()).sum(1), rtol=1e-5, atol=1e-7)


def test_autocast_to_bfloat16_gives_the_map_of_float32_nearly() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = explained(images(), 1)
    torch.testing.assert_close(result.maps, explained(images(), 1).maps, atol=0.05, rtol=0)


def test_gradients_are_those_of_plain_autograd() -> None:
    model, inputs = small_net(double=True), images(double=True)
    result = CAM(model, "early", "hirescam")(inputs, [0, 3])
    activations, gradients, _ = autograd_evidence(model, model.early, inputs, [0, 3])
    torch.testing.assert_close(result.raw["early"], (activations * gradients).sum(1))


def test_seconds_of_forward_and_maps_are_told() -> None:
    seconds = explained(images(), 1).seconds
    assert set(seconds) == {"forward", "maps"}
    assert all(value > 0 for value in seconds.values())


def test_the_engine_may_be_used_in_a_with_block_that_swallows_nothing() -> None:
    with CAM(small_net(), "early", "layercam") as cam:
        assert torch.equal(cam(images(), 1).maps, explained(images(), 1).maps)
    with pytest.raises(IndexError), CAM(small_net(), "early"):
        SIZES[2][99]
