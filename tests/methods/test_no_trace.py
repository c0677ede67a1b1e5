"""After a call, and after an exception anywhere inside it, the model and the inputs are what they were (contract 2)."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import LayerError, LayoutError
from camtool.methods import BaseMethod, GradCAM, build_method
from camtool.methods._base import Evidence
from camtool.types import Maps
from tests.methods.attention.networks import PlainViT, plain_vit
from tests.methods.kinds import OF_ATTENTION, OF_MAPS, OF_TOKENS
from tests.networks import SmallNet, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


class UsersError(Exception):
    """Raised where a test wants it."""


def worn_net() -> SmallNet:
    """Return a network in the state a user may leave it in: partly training, partly frozen, one gradient kept, a hook of its own."""
    model = small_net()
    model.late.train()
    model.dropout.train()
    model.early[0].weight.requires_grad_(False)
    model.fc.bias.grad = torch.full_like(model.fc.bias, 7.0)
    model.late[0].register_forward_hook(lambda *_: None)
    return model


def worn_vit() -> PlainViT:
    """Return a transformer in such a state."""
    model = plain_vit(double=False)
    model.blocks[1].train()
    model.dropout.train()
    model.patches.weight.requires_grad_(False)
    model.head.bias.grad = torch.full_like(model.head.bias, 7.0)
    model.blocks[2].norm1.register_forward_hook(lambda *_: None)
    return model


def state(model: nn.Module) -> dict[str, Any]:
    """Return everything a call could leave behind, tensors as copies."""
    found: dict[str, Any] = {"grad mode": torch.is_grad_enabled(), "inference mode": torch.is_inference_mode_enabled()}
    for path, module in model.named_modules():
        # id() tells a replaced module; the names in __dict__ tell a patched forward or any new attribute.
        found[f"{path} module"] = (id(module), type(module), module.training, sorted(module.__dict__), list(module._modules))
        found[f"{path} hooks"] = {name: dict(hooks) for name, hooks in module.__dict__.items() if name.endswith("_hooks") and hooks}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[f"{name} tensor"] = (id(tensor), tensor.requires_grad, tensor._version)
        found[f"{name} value"] = tensor.detach().clone()
        found[f"{name} grad"] = None if tensor.grad is None else tensor.grad.clone()
    return found


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for key, value in before.items():
        same = torch.equal(value, after[key]) if isinstance(value, Tensor) else value == after[key]
        assert same, f"{key} has changed"


def plain() -> Tensor:
    return images()


def requiring_grad() -> Tensor:
    return images().requires_grad_()


@torch.inference_mode()
def inference() -> Tensor:
    return images().clone()


CASES = [(name, plain, False) for name in OF_MAPS]
CASES += [(name, make, aug_smooth) for name in ("gradcam", "cam") for make in (requiring_grad, inference) for aug_smooth in (False, True)]


@pytest.mark.parametrize(("name", "make", "aug_smooth"), CASES)
def test_a_call_leaves_no_trace(name: str, make: Callable[[], Tensor], aug_smooth: bool) -> None:
    model, inputs = worn_net(), make()
    before, values, needs_grad = state(model), inputs.detach().clone(), inputs.requires_grad
    layer = "late" if name == "cam" else "early"
    result = CAM(model, layer, name, aug_smooth=aug_smooth)(inputs, 1)
    assert_same(before, state(model))
    assert torch.equal(inputs, values)
    assert inputs.requires_grad == needs_grad
    assert inputs.grad is None
    assert not result.maps.requires_grad
    assert not result.logits.requires_grad


@pytest.mark.parametrize("aug_smooth", [False, True])
@pytest.mark.parametrize("make", [plain, requiring_grad, inference])
@pytest.mark.parametrize("name", [*OF_TOKENS, *OF_ATTENTION])
def test_a_call_on_a_transformer_leaves_no_trace(name: str, make: Callable[[], Tensor], aug_smooth: bool) -> None:
    model, inputs = worn_vit(), make()
    before, values = state(model), inputs.detach().clone()
    result = CAM(model, method=name, aug_smooth=aug_smooth)(inputs, 1)
    assert_same(before, state(model))
    assert torch.equal(inputs, values)
    assert inputs.grad is None
    assert not result.maps.requires_grad
    assert not next(iter(result.raw.values())).requires_grad


@pytest.mark.parametrize("name", OF_ATTENTION)
@pytest.mark.parametrize("place", ["patches", "blocks.0", "blocks.2", "blocks.2.mlp", "head"])
def test_an_exception_inside_a_transformer_leaves_no_trace_and_is_not_swallowed(place: str, name: str) -> None:
    model = worn_vit()

    def forward(tokens: Tensor) -> Tensor:
        raise UsersError

    model.get_submodule(place).forward = forward  # type: ignore[method-assign]
    before = state(model)
    with pytest.raises(UsersError):
        CAM(model, method=name)(images(), 1)
    assert_same(before, state(model))


def test_an_exception_in_the_last_pass_of_legrad_leaves_no_trace() -> None:
    def run(model: nn.Module, failing: int) -> int:
        """Explain a picture, with an exception in one of the passes; return their number."""
        passes: list[int] = []

        def count(module: nn.Module, inputs: object) -> None:
            passes.append(1)
            if len(passes) == failing:
                raise UsersError

        handle = model.head.register_forward_pre_hook(count)
        try:
            CAM(model, method="legrad")(images(), 1)
        finally:
            handle.remove()
        return len(passes)

    last = run(worn_vit(), 0)
    model = worn_vit()
    before = state(model)
    with pytest.raises(UsersError):
        run(model, last)
    assert_same(before, state(model))


def test_deriving_the_layer_and_probing_leave_no_trace() -> None:
    model = worn_net()
    before = state(model)
    cam = CAM(model)
    cam.probe(images())
    cam(images())
    assert_same(before, state(model))


def raise_in_model(model: SmallNet) -> Callable[[], Any]:
    def forward(pooled: Tensor) -> Tensor:
        raise UsersError

    model.fc.forward = forward  # type: ignore[method-assign]
    return lambda: CAM(model, "early")(images(), 1)


def raise_in_target(model: SmallNet) -> Callable[[], Any]:
    def target(logits: Tensor) -> Tensor:
        raise UsersError

    return lambda: CAM(model, "early")(images(), target)


def raise_in_backward(model: SmallNet) -> Callable[[], Any]:
    def explode(gradient: Tensor) -> Tensor:
        raise UsersError

    def target(logits: Tensor) -> Tensor:
        score = logits[0] * 2
        score.register_hook(explode)
        return score

    return lambda: CAM(model, "early")(images(), target)


class ExplodingMethod(GradCAM):
    name = "exploding"

    def contributions(self, evidence: Evidence) -> Maps:
        raise UsersError


def raise_in_method(model: SmallNet) -> Callable[[], Any]:
    method: BaseMethod = ExplodingMethod()
    return lambda: CAM(model, "early", ["gradcam", method])(images(), 1)


@pytest.mark.parametrize("prepare", [raise_in_model, raise_in_target, raise_in_backward, raise_in_method])
def test_an_exception_of_the_users_code_leaves_no_trace_and_is_not_swallowed(prepare: Callable[..., Any]) -> None:
    model = worn_net()
    call = prepare(model)
    before = state(model)
    with pytest.raises(UsersError):
        call()
    assert_same(before, state(model))


@pytest.mark.parametrize(("layer", "error"), [("pool", LayoutError), ("fc", LayoutError), ("dropout", LayoutError)])
def test_an_error_of_camtool_leaves_no_trace(layer: str, error: type[Exception]) -> None:
    model = worn_net()
    before = state(model)
    with pytest.raises(error):
        CAM(model, layer)(images(), 1)
    assert_same(before, state(model))


def test_an_exception_while_the_layer_is_derived_leaves_no_trace() -> None:
    model = worn_net()
    nn.init.zeros_(model.fc.weight)
    before = state(model)
    with pytest.raises(LayerError):
        CAM(model)(images())
    assert_same(before, state(model))


@pytest.mark.parametrize("caller", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_callers_grad_mode_is_restored_also_after_an_exception(caller: Callable[[], Any]) -> None:
    model = small_net()
    cam, failing = CAM(model, "early"), CAM(model, "pool")
    with caller():
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        cam(images(), 1)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == modes
        with pytest.raises(LayoutError):
            failing(images(), 1)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == modes


def test_random_state_is_not_advanced_by_a_model_with_dropout_in_train_mode() -> None:
    model = worn_net().train()
    before = torch.get_rng_state()
    CAM(model, "early")(images(), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_method_object_is_the_users_to_give() -> None:
    method = build_method("gradcam")
    cam = CAM(small_net(), "early", method)
    assert cam.methods == {"gradcam": method}
