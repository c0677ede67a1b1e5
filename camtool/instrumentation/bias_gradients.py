"""Full-gradient decomposition: a score of a ReLU network is its input times gradient, plus every bias times its gradient."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from camtool.errors import LayoutError
from camtool.functional import to_float32
from camtool.layouts import Layout
from camtool.types import Maps


@dataclass(frozen=True)
class BiasTerm:
    """What one call of one biased layer adds to a score: bias times the gradient at the layer's output."""

    path: str
    total: Float[Tensor, " n"]
    """Its part of the score, per sample."""
    maps: Maps | None
    """Where that part is, channel by channel, at the layer's own grid; None where the layer has no positions, as a head."""


@dataclass(frozen=True)
class _Call:
    """One call of one biased layer: where in the graph its output is, and how it is to be read."""

    path: str
    bias: Tensor
    """Shaped so that it multiplies the output."""
    edge: GradientEdge
    to_maps: Callable[[Tensor], Tensor] | None


class BiasRecorder:
    """Remembers, while entered, where each biased layer's output is in the graph; its hooks are removed on exit.

    Biased layers are convolutions, batch normalisations and linear layers. The gradient graph is the forward pass's own; nothing in
    it is changed or copied, so that layers may go on working in place.

    Args:
        fit: returns the layout of a tensor that a module gave, or raises LayoutError.
    """

    def __init__(self, model: nn.Module, fit: Callable[[Tensor, nn.Module], Layout], batch: int, input_size: Sequence[int]) -> None:
        self._fit = fit
        self._batch = batch
        self._input_size = input_size
        self._biased = {path: module for path, module in model.named_modules() if bias_of(module) is not None}
        self._calls: list[_Call] = []
        self._stack = ExitStack()

    def __enter__(self) -> "BiasRecorder":
        with ExitStack() as stack:
            for path, module in self._biased.items():
                stack.callback(module.register_forward_hook(partial(self._record, path)).remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def terms(self, score: Float[Tensor, ""], inputs: Maps, *, retain_graph: bool = False) -> tuple[Maps, list[BiasTerm]]:
        """Return the score's gradient at `inputs`, a leaf of the graph, and the term of every bias, from one backward pass.

        A layer that the score does not depend on gives no term.
        """
        edges: list[Any] = [call.edge for call in self._calls]
        gradient, *of_biases = torch.autograd.grad(score, [inputs, *edges], retain_graph=retain_graph, allow_unused=True)
        terms = []
        for call, found in zip(self._calls, of_biases, strict=True):
            if found is not None:
                products = to_float32(found) * call.bias
                maps = None if call.to_maps is None else call.to_maps(products)
                terms.append(BiasTerm(call.path, products.flatten(1).sum(dim=1), maps))
        return torch.zeros_like(inputs) if gradient is None else to_float32(gradient), terms

    def _record(self, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.requires_grad or len(output) != self._batch:
            return  # where samples are folded into another axis nobody knows which part is whose
        bias = bias_of(module)
        assert bias is not None
        behind = 0 if isinstance(module, nn.Linear) else output.ndim - 2
        bias = to_float32(bias).reshape(-1, *[1] * behind)
        # The edge of this moment: an in-place ReLU behind it makes the tensor another node's output.
        self._calls.append(_Call(path, bias, get_gradient_edge(output), self._reading(output, module)))

    def _reading(self, output: Tensor, module: nn.Module) -> Callable[[Tensor], Tensor] | None:
        if not isinstance(module, nn.Linear) and output.ndim == 2 + len(self._input_size):
            return _as_it_is  # also at 1x1, where a map is flat
        try:
            layout = self._fit(output, module)
        except LayoutError:
            return None
        return partial(layout.to_maps, input_size=self._input_size)


def bias_of(module: nn.Module) -> Float[Tensor, " c"] | None:
    """Return what a layer adds to every position, in eval mode; None if it is no convolution, batch norm or linear layer, or adds nothing.

    A batch norm adds -mean gamma / sqrt(var + eps) + beta: its implicit bias (Srinivas & Fleuret, sec. 3.1 and their code).
    """
    if isinstance(module, _BatchNorm):
        if module.running_mean is None or module.running_var is None:
            return None if module.bias is None else module.bias.detach()
        scale = torch.rsqrt(module.running_var + module.eps)
        shift = -module.running_mean * (scale if module.weight is None else scale * module.weight.detach())
        return shift if module.bias is None else shift + module.bias.detach()
    if isinstance(module, (_ConvNd, nn.Linear)) and isinstance(module.bias, Tensor):
        return module.bias.detach()
    return None


def _as_it_is(output: Tensor) -> Tensor:
    return output
