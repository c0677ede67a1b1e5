"""Full-gradient decomposition: the score of a ReLU network is input * gradient plus the sum of every bias * gradient."""

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
from camtool.instrumentation.layer_paths import walk
from camtool.layouts import Layout
from camtool.types import Maps


@dataclass(frozen=True)
class BiasTerm:
    """Contribution of one call of one biased layer to a score: bias times the gradient at the layer's output."""

    path: str
    total: Float[Tensor, " n"]
    """Sum of the contribution, per sample."""
    maps: Maps | None
    """The contribution by channel and position, at the layer's own grid; None for layers without positions, as a head."""


@dataclass(frozen=True)
class _Call:
    """One call of one biased layer: its output's edge in the graph, and its layout."""

    path: str
    bias: Tensor
    """Shaped so that it multiplies the output."""
    edge: GradientEdge
    to_maps: Callable[[Tensor], Tensor] | None


class BiasRecorder:
    """Records, while entered, each biased layer's output in the graph; its hooks are removed on exit.

    Biased layers are convolutions, batch normalisations and linear layers. The gradient graph is the forward pass's own; nothing in
    it is changed or copied, so that layers may work in place.

    Args:
        fit: `fit(tensor, path)` returns the layout of a layer's output tensor, or raises LayoutError.
    """

    def __init__(self, model: nn.Module, fit: Callable[[Tensor, str], Layout], batch: int, input_size: Sequence[int]) -> None:
        self._fit = fit
        self._batch = batch
        self._input_size = input_size
        self._biased = biased_layers(model)
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
        for call, gradient_of_output in zip(self._calls, of_biases, strict=True):
            if gradient_of_output is not None:
                products = to_float32(gradient_of_output) * call.bias
                maps = None if call.to_maps is None else call.to_maps(products)
                terms.append(BiasTerm(call.path, products.flatten(1).sum(dim=1), maps))
        return torch.zeros_like(inputs) if gradient is None else to_float32(gradient), terms

    def _record(self, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.requires_grad or len(output) != self._batch:
            return  # where samples are folded into another axis their parts are unknown
        bias = bias_of(module)
        assert bias is not None
        spatial = 0 if isinstance(module, nn.Linear) else output.ndim - 2
        bias = to_float32(bias).reshape(-1, *[1] * spatial)
        # The edge now: an in-place ReLU behind the layer makes the tensor another node's output.
        self._calls.append(_Call(path, bias, get_gradient_edge(output), self._reading(output, path, module)))

    def _reading(self, output: Tensor, path: str, module: nn.Module) -> Callable[[Tensor], Tensor] | None:
        if not isinstance(module, nn.Linear) and output.ndim == 2 + len(self._input_size):
            return _as_it_is  # also at 1x1, where the map is flat
        try:
            layout = self._fit(output, path)
        except LayoutError:
            return None
        return partial(layout.to_maps, input_size=self._input_size)


def biased_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers with a bias, by path."""
    return {path: module for path, module in [("", model), *walk(model)] if bias_of(module) is not None}


def bias_of(module: nn.Module) -> Float[Tensor, " c"] | None:
    """Return a layer's bias in eval mode; None without one, or if it is not a convolution, batch norm or linear layer.

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
