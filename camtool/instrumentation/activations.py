"""Capture: the output of named layers during one forward pass, with the autograd graph behind them only.

Upstream of the first captured layer nothing is recorded for autograd; at that layer the output becomes a leaf and gradients are
switched on, so that a backward pass touches only what lies downstream.
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

from camtool.errors import LayerError, LayoutError, warn
from camtool.instrumentation.nested import replaced, tensors_in
from camtool.layouts import Layout


@dataclass
class CapturedLayer:
    """Record of one layer's first call."""

    calls: int = 0
    order: int = -1
    """Position among all captured layers by the end of the first call."""
    first_shape: tuple[int, ...] | None = None
    """Shape of the first tensor of the first call."""
    varies: bool = False
    """Whether that of a later call differs: a head that is shared by several scales."""
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
    """

    def __init__(self, layers: Mapping[str, nn.Module], fit: Callable[..., Layout], *, differentiate: bool) -> None:
        self.records = {path: CapturedLayer() for path in layers}
        self._layers = layers
        self._fit = fit
        self._differentiate = differentiate
        self._stack = ExitStack()
        self._order = itertools.count()

    def __enter__(self) -> "Capture":
        with ExitStack() as stack:
            # Inference tensors could not take part in the graph behind the target layer.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            for path, module in self._layers.items():
                handle = module.register_forward_hook(partial(self._record, path))
                stack.callback(handle.remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def activations(self, path: str) -> tuple[Tensor, Layout]:
        """Return a layer's activations and their layout; LayerError if it was not called, LayoutError if no layout fits."""
        record = self.records[path]
        if record.calls == 0:
            raise LayerError(f"Layer '{path}' is never called in this forward pass; choose one that is ('--preview-model' shows which).")
        if record.activations is None or record.layout is None:
            raise LayoutError(f"Layer '{path}': {record.mismatch}")
        return record.activations, record.layout

    def warn_of_repeated_calls(self) -> None:
        """Warn of each layer that was called more than once."""
        for path, record in self.records.items():
            if record.calls > 1:
                warn(f"Layer '{path}' is called {record.calls} times in a forward pass; its first call is explained.")

    def _record(self, path: str, module: nn.Module, inputs: Any, output: Any) -> Any:
        record = self.records[path]
        record.calls += 1
        if record.calls > 1:
            record.varies = record.varies or record.first_shape != _first_shape(output)
            return None
        record.first_shape = _first_shape(output)
        record.order = next(self._order)
        record.input_shape = next((tuple(tensor.shape) for tensor in tensors_in(inputs)), None)
        for index, tensor in enumerate(tensors_in(output)):
            record.shape = record.shape or tuple(tensor.shape)
            try:
                record.layout = self._fit(tensor, path, index=index)
            except LayoutError as mismatch:
                record.mismatch = str(mismatch)
                continue
            record.shape = tuple(tensor.shape)
            record.index = index
            record.activations = self._take(tensor)
            # Clone: an in-place ReLU downstream would overwrite the captured tensor.
            return replaced(output, tensor, record.activations.clone())
        return None

    def _take(self, tensor: Tensor) -> Tensor:
        if not self._differentiate:
            return tensor.detach().clone()
        # Grad mode is restored by the no_grad() that __enter__ put on the stack.
        torch.set_grad_enabled(True)
        if tensor.requires_grad:  # downstream of an earlier captured layer
            return tensor
        return tensor.detach().clone().requires_grad_()


def _first_shape(output: Any) -> tuple[int, ...] | None:
    return next((tuple(tensor.shape) for tensor in tensors_in(output)), None)
