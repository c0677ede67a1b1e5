"""The module state that instrumentation needs: temporary eval mode, and no compilation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from camtool.errors import CamtoolError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every submodule in eval mode inside the block, and back in its own mode afterwards.

    The flag is set directly: a model's own `train()` may freeze, merge or re-parametrise, which would leave a trace.
    """
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def eager(model: nn.Module) -> nn.Module:
    """Return the module whose hooks are called: `model`, or the module that torch.compile wraps; CamtoolError if there is none."""
    # torch.compile wraps the module; hooks and a partial graph need the eager one, which has the same parameter objects.
    model = getattr(model, "_orig_mod", model)
    if not isinstance(model, nn.Module):
        raise CamtoolError(f"Expected a torch.nn.Module, got {type(model).__name__}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise CamtoolError("The model is scripted (torch.jit); hooks do not see its layers. Use the nn.Module it was scripted from.")
    if any(_is_compiled(module) for module in model.modules()):
        raise CamtoolError(
            "The model was compiled in place (model.compile()); hooks do not see its layers. Use the model before compilation."
        )
    return model


def check_not_inference(model: nn.Module) -> None:
    """Raise CamtoolError if the model's parameters cannot take part in a graph."""
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise CamtoolError(
            "The model was built under torch.inference_mode(), so gradients cannot be computed. Build it outside of inference mode."
        )


def _is_compiled(module: nn.Module) -> bool:
    # By name: importing torch._dynamo takes seconds.
    forward = vars(module).get("forward")
    return (
        module._compiled_call_impl is not None
        or type(module).__name__ == "OptimizedModule"
        or hasattr(forward, "_torchdynamo_orig_callable")
    )
