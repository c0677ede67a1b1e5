"""The module state that instrumentation needs: temporary eval mode, and no compilation."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from camtool.errors import CamtoolError, some
from camtool.instrumentation.traversal import modules_of

_COMMON = frozenset((nn.Parameter, Tensor))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every submodule in eval mode inside the block, and back in its own mode afterwards.

    The flag is set directly: a model's own `train()` may freeze, merge or re-parametrise, which would leave a trace.
    """
    training = [module for module in modules_of(model) if module.training]
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
    if is_scripted(model):
        raise CamtoolError("The model is scripted (torch.jit); hooks do not see its layers. Use the nn.Module it was scripted from.")
    if any(is_compiled(module) for module in modules_of(model)):
        raise CamtoolError(
            "The model was compiled in place (model.compile()); hooks do not see its layers. Use the model before compilation."
        )
    return model


def is_quantised(model: nn.Module) -> bool:
    """Return whether the model has integer layers (int8), which have no gradient."""
    return any(".quantized" in type(module).__module__ for module in modules_of(model))


def is_scripted(module: nn.Module) -> bool:
    """Return whether a module is scripted or traced (torch.jit): it takes no hooks, and its functions are not seen."""
    return isinstance(module, torch.jit.ScriptModule)


def scripted_part_with(model: nn.Module, functions: Collection[str]) -> str:
    """Return the name of a scripted part whose code calls one of torch's functions ("relu", "softmax"); "" if there is none.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.instrumentation.module_state import scripted_part_with
        >>> model = nn.Sequential(nn.Tanh(), torch.jit.trace(nn.ReLU(), torch.zeros(1)))
        >>> scripted_part_with(model, ["relu"]), scripted_part_with(model, ["softmax"])
        ('1', '')
    """
    for name, module in model.named_modules():
        if is_scripted(module) and hasattr(module, "inlined_graph"):
            called = re.findall(r"aten::(\w+)", str(module.inlined_graph))
            if not {function.rstrip("_") for function in called}.isdisjoint(functions):
                return name
    return ""


def gradient_remark(model: nn.Module) -> str:
    """Return a sentence, with a blank in front, on why the model gives no gradients; "" if it should."""
    if not is_quantised(model):
        return ""
    return (
        " The network is quantised: its integer layers have no gradient. Use a method of activations or of altered copies at a named "
        "layer, such as 'eigencam' or 'ablationcam', or the network before quantisation."
    )


def check_weights(model: nn.Module) -> None:
    """Raise CamtoolError if the model's parameters are not made yet, or cannot take part in a graph."""
    # Without names, which take as long as a small network's forward pass.
    uncommon = [
        tensor
        for part in modules_of(model)
        for kept in (part._parameters, part._buffers)
        for tensor in kept.values()
        if tensor is not None and (type(tensor) not in _COMMON or tensor.is_inference())
    ]
    if any(map(is_lazy, uncommon)):
        lazy = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if is_lazy(tensor)]
        raise CamtoolError(
            f"The model has lazy modules, whose weights are not made yet: {some(lazy)}. Run it once, `model(inputs)`, and then load "
            "its weights."
        )
    if any(isinstance(tensor, nn.Parameter) and tensor.is_inference() for tensor in uncommon):
        raise CamtoolError(
            "The model was built under torch.inference_mode(), so gradients cannot be computed. Build it outside of inference mode."
        )


def is_compiled(module: nn.Module) -> bool:
    """Return whether a module, or its forward alone, is compiled."""
    # By name: importing torch._dynamo takes seconds.
    forward = vars(module).get("forward")
    while forward is not None and not hasattr(forward, "_torchdynamo_orig_callable"):  # one of camtool's own may stand before it
        forward = getattr(forward, "__wrapped__", None)
    return module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule" or forward is not None
