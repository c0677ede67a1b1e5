"""Capture: the first output of a layer as it was, a graph behind it only, and nothing left afterwards."""

from collections import OrderedDict, namedtuple
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool.errors import LayerError, LayoutError
from camtool.instrumentation.activations import Capture
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.layouts import Layout, fit_layout
from tests.networks import SIZES, autograd_evidence, images, small_net


def fit(tensor: Tensor, path: str, *, index: int = 0) -> Layout:
    return fit_layout(tensor, 2, SIZES[2])


Pair = namedtuple("Pair", ["grid", "extra"])


def capture(model: nn.Module, *paths: str, differentiate: bool = True) -> Capture:
    return Capture({path: model.get_submodule(path) for path in paths}, fit, differentiate=differentiate)


class Recorder:
    """Notes whether each module's output was part of a graph."""

    def __init__(self, model: nn.Module) -> None:
        self.has_graph: dict[str, bool] = {}
        for path, module in model.named_modules():
            module.register_forward_hook(partial(self._note, path))

    def _note(self, path: str, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.has_graph[path] = output.requires_grad


@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_upstream_of_the_target_layer_no_graph_is_built_and_downstream_there_is(grad_mode: Any) -> None:
    model = small_net()
    recorder = Recorder(model)
    with grad_mode(), capture(model, "early.1"):
        model(images())
    assert not recorder.has_graph["early.0"]
    downstream = ["early.2", "late.0", "late", "pool", "fc"]
    assert all(recorder.has_graph[path] for path in downstream)


def test_without_gradients_there_is_no_graph_anywhere() -> None:
    model = small_net()
    recorder = Recorder(model)
    with capture(model, "early.1", differentiate=False) as c:
        model(images())
    assert not any(recorder.has_graph.values())
    assert not c.activations("early.1")[0].requires_grad


@pytest.mark.parametrize("layer", ["early.0", "early.1", "early.2", "early", "late.1"])
def test_activations_and_gradients_equal_plain_autograd_although_the_next_layer_is_in_place(layer: str) -> None:
    model, inputs = small_net(double=True), images(double=True)
    expected, expected_gradient, logits = autograd_evidence(model, model.get_submodule(layer), inputs, [1, 2])
    with capture(model, layer) as c:
        output = model(inputs)
        activations, _ = c.activations(layer)
        with torch.enable_grad():
            score = output[0, 1] + output[1, 2]
        (gradient,) = torch.autograd.grad(score, activations)
    torch.testing.assert_close(output.detach(), logits)
    torch.testing.assert_close(activations.detach(), expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_a_layer_without_gradients_wanted_is_not_overwritten_either() -> None:
    model, inputs = small_net(), images()
    expected, _, _ = autograd_evidence(model, model.early[1], inputs, [0, 0])
    with capture(model, "early.1", differentiate=False) as c:
        model(inputs)
    assert torch.equal(c.activations("early.1")[0], expected)
    assert (expected < 0).any(), "else the in-place ReLU would change nothing"


@pytest.mark.parametrize("differentiate", [False, True])
def test_activations_that_share_memory_with_the_layers_input_are_not_overwritten_through_it(differentiate: bool) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Identity()

        def forward(self, stream: Tensor) -> Tensor:
            branch = self.same(stream)
            stream.add_(5)
            return branch + stream

    model, inputs = Residual(), images()
    expected = inputs.clone()
    with capture(model, "same", differentiate=differentiate) as c:
        model(inputs.clone())
    assert torch.equal(c.activations("same")[0].detach(), expected)


def test_two_layers_one_behind_the_other_both_have_gradients() -> None:
    model, inputs = small_net(double=True), images(double=True)
    with capture(model, "early", "late") as c:
        output = model(inputs)
        tensors = [c.activations(path)[0] for path in ("early", "late")]
        gradients = torch.autograd.grad(output[:, 3].sum(), tensors)
    for path, gradient in zip(("early", "late"), gradients, strict=True):
        expected = autograd_evidence(model, model.get_submodule(path), inputs, [3, 3])[1]
        torch.testing.assert_close(gradient, expected)


def test_a_frozen_model_has_gradients_all_the_same() -> None:
    model = small_net().requires_grad_(False)
    with capture(model, "late") as c:
        output = model(images())
        (gradient,) = torch.autograd.grad(output[:, 0].sum(), c.activations("late")[0])
    assert (gradient != 0).any()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda grid: (grid, torch.ones(2, 3)),
        lambda grid: [torch.ones(2, 3), grid],
        lambda grid: (None, (7, {"deep": grid})),
        lambda grid: {"size": (5, 7), "grid": grid},
        lambda grid: OrderedDict(extra=torch.ones(2, 3), grid=grid),
        lambda grid: Pair(grid, 3),
        lambda grid: (torch.arange(2), grid),
        lambda grid: (grid, (5, 7)),  # Swin's stages
        lambda grid: (grid, grid + 1),  # RevViT's two streams
        lambda grid: [grid, *(grid[..., ::step, ::step] for step in (2, 4, 5))],  # HRNet's four branches
    ],
)
def test_the_grid_is_found_in_nested_outputs_whose_types_stay(wrap: Any) -> None:
    class Wrapping(nn.Module):
        def forward(self, grid: Tensor) -> Any:
            return wrap(grid)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrapping = Wrapping()

        def forward(self, grid: Tensor) -> Any:
            return self.wrapping(grid)

    model, grid = Model(), torch.rand(2, 3, 5, 7)
    with capture(model, "wrapping") as c:
        output = model(grid)
    assert torch.equal(c.activations("wrapping")[0], grid)
    plain = wrap(grid)
    assert type(output) is type(plain)
    found = next(tensor for tensor in tensors_in(output) if tensor.shape == grid.shape)
    assert found.requires_grad, "what goes on downstream hangs on the captured tensor"
    assert len(list(tensors_in(output))) == len(list(tensors_in(plain)))


def test_only_the_first_call_is_kept_and_calls_are_counted() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(OrderedDict(one=relu, shift=nn.Hardtanh(0.2, 0.4), two=relu))
    inputs = torch.rand(2, 3, 10, 14)
    with capture(model, "one") as c:
        model(inputs)
    assert c.records["one"].calls == 2
    assert torch.equal(c.activations("one")[0].detach(), inputs)


def test_a_layer_that_is_not_called_and_one_without_a_grid_are_told_apart() -> None:
    model = small_net()
    model.unused = nn.ReLU()
    with capture(model, "unused", "pool") as c:
        model(images())
    with pytest.raises(LayerError, match="'unused' is never called"):
        c.activations("unused")
    with pytest.raises(LayoutError, match=r"'pool': .*\(2, 6, 1, 1\).*single position"):
        c.activations("pool")


def test_the_order_of_layers_is_that_in_which_they_finish() -> None:
    model = small_net()
    with capture(model, "late", "late.0", "early") as c:
        model(images())
    assert [path for path, record in sorted(c.records.items(), key=lambda item: item[1].order)] == ["early", "late.0", "late"]


def test_hooks_and_grad_mode_are_undone_when_the_with_block_raises() -> None:
    model = small_net()
    with pytest.raises(IndexError), capture(model, "early"):
        model(images())[0, 99]
    assert torch.is_grad_enabled()
    assert not model.early._forward_hooks


def test_evaluating_sets_every_flag_and_gives_each_back_without_calling_train() -> None:
    class Stubborn(nn.Module):
        def train(self, mode: bool = True) -> "Stubborn":
            raise AssertionError("a model's own train() may do anything")

    model = nn.Sequential(nn.Dropout().train(), nn.Dropout().eval(), nn.Sequential(nn.Dropout().eval()).train())
    model.append(Stubborn())
    model[2][0].training = False
    flags = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == flags
    with pytest.raises(ZeroDivisionError), evaluating(model):
        1 / 0  # noqa: B018
    assert [module.training for module in model.modules()] == flags
    assert True in flags
    assert False in flags
