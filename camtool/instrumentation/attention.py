"""Recording of attention: the weights of every softmax between tokens during one forward pass, as tensors of the graph.

One recorder for fused and unfused attention: a TorchFunctionMode replaces the fused functions by the explicit product, whoever calls
them, and records where a network computes the softmax itself. No model code is changed. nn.MultiheadAttention and
nn.TransformerEncoder leave their fast paths by themselves while a mode is active.

Upstream of the first attention no graph is built: its weights become a leaf and gradients are switched on, as in `activations.py`.
"""

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camtool.errors import MethodError
from camtool.instrumentation.attention_functions import multi_head_attention_forward, scaled_dot_product_attention
from camtool.instrumentation.calls import ThreadHook
from camtool.instrumentation.layer_paths import walk
from camtool.instrumentation.module_state import is_scripted, scripted_part_with
from camtool.instrumentation.nested import replaced, tensors_in

_FUNCTIONS = ("softmax", "scaled_dot_product_attention", "_native_multi_head_attention", "_transformer_encoder_layer_fwd")


@dataclass(eq=False)
class Attention:
    """One softmax between tokens."""

    path: str
    """Path of the module that computed it."""
    call: int
    """Number of the module call; two softmaxes with the same number belong to one call."""
    weights: Tensor
    """(n, heads, queries, keys), or as the network shapes them; on the path to the output, so they have a gradient."""
    scores: Tensor
    """The softmax's input, shaped as `weights`, masks included; without graph."""
    input_shape: tuple[int, ...] | None
    """Shape of the module's first input tensor."""
    outputs: dict[str, Tensor] = field(default_factory=dict)
    """Output tokens of the enclosing modules without other attention, by path, innermost first; only with `keep_outputs`."""
    output_calls: dict[str, int] = field(default_factory=dict)
    """By path of `outputs`: which of the module's calls gave them, from 0."""


@dataclass
class _Frame:
    """A module call in progress."""

    path: str
    module: nn.Module | None
    call: int
    input_shape: tuple[int, ...] | None = None
    number: int = 0
    """Which of the module's own calls it is, from 0."""
    taken: list[Attention] = field(default_factory=list)


class AttentionRecorder:
    """Records all attention of `model` while entered; hooks, the mode and grad modes are undone on exit, also after an exception.

    Args:
        model: the network that will be called.
        keep_outputs: whether to keep the output tokens of the modules around each attention.
        differentiate: whether the weights have a graph; otherwise gradients stay as they are.
    """

    def __init__(self, model: nn.Module, *, keep_outputs: bool = False, differentiate: bool = True) -> None:
        self.records: list[Attention] = []
        """In the order of the forward pass."""
        self._model = model
        self._keep_outputs = keep_outputs
        self._differentiate = differentiate
        self._calls = itertools.count()
        self._counts: dict[str, int] = {}
        self._frames = [_Frame("", None, next(self._calls))]
        self._stack = ExitStack()

    def __enter__(self) -> "AttentionRecorder":
        scripted = scripted_part_with(self._model, _FUNCTIONS)
        if scripted:
            raise MethodError(
                f"The part '{scripted}' of the network is scripted (torch.jit), and its attention is not seen. Use the nn.Module that it "
                "was scripted from, or a method of activations, such as 'gradcam'."
            )
        with ExitStack() as stack:
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            for path, module in walk(self._model):
                if is_scripted(module):
                    continue
                before = module.register_forward_pre_hook(ThreadHook(partial(self._enter_module, path)), with_kwargs=True)
                stack.callback(before.remove)
                after = module.register_forward_hook(ThreadHook(partial(self._leave_module, path)), always_call=True)
                stack.callback(after.remove)
            # Held by the stack alone: as an attribute it would close a reference cycle, and the graph would wait for the collector.
            stack.enter_context(_AttentionInterceptor(self._keep))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _enter_module(self, path: str, module: nn.Module, inputs: Any, options: Any) -> None:
        shape = next((tuple(tensor.shape) for tensor in tensors_in([inputs, options])), None)
        number = self._counts.get(path, 0)
        self._counts[path] = number + 1
        self._frames.append(_Frame(path, module, next(self._calls), shape, number))

    def _leave_module(self, path: str, module: nn.Module, inputs: Any, output: Any) -> Any:
        if self._frames[-1].module is not module:  # a user's pre-hook raised before the module was entered
            return None
        frame = self._frames.pop()
        self._frames[-1].taken += frame.taken
        if not self._keep_outputs or len(frame.taken) != 1:
            return None
        (record,) = frame.taken
        tensors = list(tensors_in(output))
        if len(tensors) != 1 or not _are_tokens(tensors[0], record.weights):  # a second stream would be lost
            return None
        tokens = tensors[0]
        record.outputs[path] = tokens
        record.output_calls[path] = frame.number
        # Clone: an in-place addition of the next block would change the kept tensor, and its place in the graph.
        return replaced(output, tokens, tokens.clone())

    def _keep(self, scores: Tensor, weights: Tensor) -> Tensor:
        # An nn.Softmax is part of the attention, not the module to name.
        frame = next(frame for frame in reversed(self._frames) if not isinstance(frame.module, nn.Softmax))
        if self._differentiate and self.records and not torch.is_grad_enabled():
            raise MethodError(
                f"No gradient reaches the attention of layer '{self.records[-1].path}': behind it, before that of '{frame.path}', the "
                "network switches gradients off itself, by torch.no_grad(), an autograd function of its own (reversible blocks) or "
                "activation checkpointing. Switch that off, or use a method of activations, such as 'gradcam'."
            )
        if self._differentiate:
            # Grad mode is restored by the no_grad() that __enter__ put on the stack.
            torch.set_grad_enabled(True)
            if not weights.requires_grad:
                weights = weights.detach().requires_grad_()
        record = Attention(frame.path, frame.call, weights, scores.detach(), frame.input_shape)
        self.records.append(record)
        self._frames[-1].taken.append(record)
        return weights


class _AttentionInterceptor(TorchFunctionMode):
    """Replaces attention functions of torch while active; `keep` gets scores and weights and returns the weights to use."""

    def __init__(self, keep: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._keep = keep

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return scaled_dot_product_attention(self._keep, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            return multi_head_attention_forward(self._keep, args, kwargs)
        result = func(*args, **kwargs)
        if func in (F.softmax, torch.softmax, Tensor.softmax) and _is_between_tokens(result, args, kwargs):
            # Clone: in-place operations of the network must not change the recorded weights.
            return self._keep(args[0] if args else kwargs["input"], result).clone()
        return result


def _is_between_tokens(result: Tensor, args: Any, kwargs: Any) -> bool:
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    # Gates over branches are on other axes, classes have no axis of queries.
    return result.ndim >= 3 and axis in (-1, result.ndim - 1)


def _are_tokens(tensor: Tensor, weights: Tensor) -> bool:
    n, length = weights.shape[0], weights.shape[-1]
    return tensor.ndim == 3 and tensor.shape[:2] in ((n, length), (length, n))
