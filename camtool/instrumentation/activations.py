"""Capture: the output of named layers during one forward pass, with the autograd graph behind them only.

Upstream of the first captured layer nothing is recorded for autograd; at that layer the output becomes a leaf and gradients are
switched on, so that a backward pass touches only what lies downstream: the network's own hooks, and what the layer keeps, included.
"""

import itertools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from camtool.errors import LayerError, LayoutError
from camtool.instrumentation.calls import Changes
from camtool.instrumentation.interception import changed_output
from camtool.instrumentation.nested import replaced, tensors_in
from camtool.layouts import Layout


@dataclass
class CapturedLayer:
    """Record of one call of a layer."""

    call: int = 0
    """Its number, from 0."""
    calls: int = 0
    """Number of all calls."""
    order: int = -1
    """Position among all captured layers by the end of the call."""
    first_shape: tuple[int, ...] | None = None
    """Shape of the first tensor of the first call."""
    varies: bool = False
    """Whether that of another call differs: a head that is shared by several scales."""
    input_shape: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    """Shape of the tensor that holds the grid, else of the first tensor."""
    activations: Tensor | None = None
    """The layer's output tensor, before its layout; part of the graph if gradients are needed."""
    layout: Layout | None = None
    index: int = 0
    """Index of the activations among the floating-point tensors of the output."""
    mismatch: str = "its output holds no tensor of floating-point numbers"
    """Why there are no activations, if there are none."""


class Capture:
    """Records activations of `layers` while entered; all hooks and grad modes are undone on exit, also after an exception.

    Args:
        layers: path -> module.
        fit: `fit(tensor, path, index=…)` returns the layout of a layer's output tensor, or raises LayoutError.
        differentiate: whether gradients with respect to the activations are needed.
        calls: by path of layers that are called several times: the number of the recorded call, from 0; the first of the others.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        fit: Callable[..., Layout],
        *,
        differentiate: bool,
        calls: Mapping[str, int] | None = None,
    ) -> None:
        self.records = {path: CapturedLayer(call=(calls or {}).get(path, 0)) for path in layers}
        self._layers = layers
        self._fit = fit
        self._differentiate = differentiate
        self._stack = ExitStack()
        self._order = itertools.count()

    def __enter__(self) -> "Capture":
        with ExitStack() as stack:
            # Inference tensors could not take part in the graph behind the target layer.
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            changes = stack.enter_context(Changes())
            for path, module in self._layers.items():
                stack.enter_context(changed_output(module, partial(self._record, path), changes))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def activations(self, path: str) -> tuple[Tensor, Layout]:
        """Return a layer's activations and their layout; LayerError if it was not called, LayoutError if no layout fits."""
        record = self.records[path]
        if record.calls == 0:
            raise LayerError(f"Layer '{path}' is never called in this forward pass; choose one that is ('--preview-model' shows which).")
        if record.calls <= record.call:
            raise LayerError(
                f"Layer '{path}' is called {record.calls} times in this forward pass, in another more than {record.call} times; expected "
                "as many calls in each. Try call=0, its first."
            )
        if record.activations is None or record.layout is None:
            raise LayoutError(f"Layer '{path}': {record.mismatch}")
        return record.activations, record.layout

    @property
    def counts(self) -> dict[str, int]:
        """Number of calls of each layer."""
        return {path: record.calls for path, record in self.records.items()}

    def _record(self, path: str, module: nn.Module, arguments: Any, output: Any) -> Any:
        record = self.records[path]
        number, record.calls = record.calls, record.calls + 1
        record.first_shape = record.first_shape or _first_shape(output)
        record.varies = record.varies or record.first_shape != _first_shape(output)
        if number != record.call:
            return None
        record.order = next(self._order)
        if isinstance(output, Tensor) and output.is_quantized:
            kind = str(output.dtype).removeprefix("torch.")
            record.mismatch = (
                f"its output is quantised ({kind}), and has neither gradients nor altered copies. Choose a layer whose output is floating "
                "point, such as the one that dequantises it behind, or leave the layer out to have one derived."
            )
        record.input_shape = next((tuple(tensor.shape) for tensor in tensors_in(arguments)), None)
        for index, tensor in enumerate(tensors_in(output)):
            record.shape = record.shape or tuple(tensor.shape)
            try:
                record.layout = self._fit(tensor, path, index=index)
            except LayoutError as mismatch:
                record.mismatch = str(mismatch)
                continue
            record.shape = tuple(tensor.shape)
            record.index = index
            record.activations = self._take(tensor, is_given=any(tensor is given for given in tensors_in(arguments)))
            # Clone: an in-place ReLU downstream would overwrite the captured tensor.
            return replaced(output, tensor, record.activations.clone())
        return None

    def _take(self, tensor: Tensor, *, is_given: bool) -> Tensor:
        if not self._differentiate:
            return tensor.detach().clone()
        # Grad mode is restored by the no_grad() that __enter__ put on the stack.
        torch.set_grad_enabled(True)
        if tensor.requires_grad:  # downstream of an earlier captured layer
            # Of a layer that returns its input, what goes around it has the same tensor, and is not its output.
            return tensor.clone() if is_given else tensor
        return tensor.detach().clone().requires_grad_()


def _first_shape(output: Any) -> tuple[int, ...] | None:
    return next((tuple(tensor.shape) for tensor in tensors_in(output)), None)
