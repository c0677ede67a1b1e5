"""After a call nothing of it is left in memory: no tensor or graph waits for the garbage collector."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.methods import build_method
from camtool.methods._base import LAYERS
from tests.methods.attention.networks import plain_vit
from tests.methods.kinds import NAMES, OF_ATTENTION, OF_TOKENS
from tests.networks import images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

WRAPPED = ["smooth:gradcam", "integrated:layercam", "finer:gradcam", "smooth:scorecam"]


def network(name: str) -> tuple[nn.Module, Tensor, list[str] | None]:
    """Return a network for the method, inputs, and target layers."""
    if name in OF_ATTENTION:
        return plain_vit(double=False), images(), None
    if name in OF_TOKENS:
        return plain_vit(double=False), images(), ["blocks[-1].norm1"]
    method = build_method(name)
    if method.reads != LAYERS and name != "guidedgradcam":
        return small_net(), images(), None
    return small_net(), images(), ["late"] if name == "cam" else ["early", "late"]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Switch the garbage collector off: what is left is held by a reference cycle, or by an owner."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()  # what a test froze stays so: the next collection would take a second for all that the libraries made


def left() -> list[Any]:
    """Return the tensors and graph nodes made since `gc.freeze()` that are in memory."""
    kinds = (Tensor, torch.autograd.graph.Node)
    return [
        tuple(found.shape) if issubclass(type(found), Tensor) else found for found in gc.get_objects() if issubclass(type(found), kinds)
    ]


FORMS = [(name, {}) for name in [*NAMES, *WRAPPED]]
FORMS += [(name, {"aug_smooth": True}) for name in ("gradcam", "guidedgradcam", "rollout", "scorecam")]
FORMS += [(name, {"placement": "measured"}) for name in ("gradcam", "fullgrad")]


@pytest.mark.parametrize(("name", "settings"), FORMS)
@pytest.mark.usefixtures("uncollected")
def test_memory_is_free_after_a_call_without_the_garbage_collector(name: str, settings: dict[str, Any]) -> None:
    model, inputs, layers = network(name)
    outputs: list[weakref.ref[Tensor]] = []
    for module in model.modules():
        module.register_forward_hook(lambda *call: outputs.append(weakref.ref(call[2])))
    CAM(model, layers, name, **settings)(inputs, 1)  # what is kept beside the network, as placements, is kept now
    outputs.clear()
    gc.freeze()
    result = CAM(model, layers, name, **settings)(inputs, 1)
    assert result.maps.isfinite().all()
    del result
    assert not left()
    assert outputs
    assert not [output for output in outputs if output() is not None]


@pytest.mark.parametrize("name", [*NAMES, *WRAPPED])
@pytest.mark.usefixtures("uncollected")
def test_memory_is_free_after_an_error_of_the_networks_without_the_garbage_collector(name: str) -> None:
    model, inputs, layers = network(name)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    [module for module in model.modules() if isinstance(module, nn.Linear)][-1].register_forward_pre_hook(fail)
    cam, raised = CAM(model, layers, name), False
    gc.freeze()
    try:
        cam(inputs, 1)
    except ZeroDivisionError:
        raised = True
    assert raised
    assert not left()
