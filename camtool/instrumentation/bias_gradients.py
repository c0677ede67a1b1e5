"""Full-gradient decomposition: the score of a ReLU network is input * gradient plus the sum of every bias * gradient."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from camtool.instrumentation.bias_additions import BiasAdditions, bias_of_normalisation
from camtool.instrumentation.calls import ThreadHook
from camtool.instrumentation.differentiation import gradients_of
from camtool.instrumentation.layer_paths import walk
from camtool.instrumentation.module_state import is_scripted
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
    """One addition of a bias: its result's edge in the graph, and its layout."""

    path: str
    bias: Tensor
    """Shaped so that it multiplies the result."""
    edge: GradientEdge
    to_maps: Callable[[Tensor], Tensor] | None


@dataclass
class _Frame:
    """A call in progress of a biased layer, and the additions of a bias in it."""

    path: str
    module: nn.Module
    additions: list[tuple[torch.Size, Tensor, GradientEdge]] = field(default_factory=list)


class BiasRecorder:
    """Records, while entered, where in the graph biases are added; its hooks and its mode are removed on exit.

    Biases are those of convolutions, linear layers and normalisations with fixed statistics (batch normalisation in eval mode, also
    frozen), called as a module or as a function. The place is the result of the function that adds the bias, not the output of its
    module: a module may hold an activation too, as timm's BatchNormAct2d, and the gradient behind that is another one. The gradient
    graph is the forward pass's own; nothing in it is changed or copied, so that layers may work in place.

    Args:
        fit: `fit(tensor, path)` returns the layout of a layer's output tensor, or raises LayoutError.
    """

    def __init__(self, model: nn.Module, fit: Callable[[Tensor, str], Layout], batch: int, input_size: Sequence[int]) -> None:
        self._fit = fit
        self._batch = batch
        self._input_size = input_size
        self._biased = biased_layers(model)
        self._calls: list[_Call] = []
        self._frames: list[_Frame] = []
        self._stack = ExitStack()

    def __enter__(self) -> "BiasRecorder":
        with ExitStack() as stack:
            for path, module in self._biased.items():
                stack.callback(module.register_forward_pre_hook(ThreadHook(partial(self._enter_layer, path))).remove)
                stack.callback(module.register_forward_hook(ThreadHook(self._leave_layer), always_call=True).remove)
            # Held by the stack alone: as an attribute it would close a reference cycle around the graph.
            stack.enter_context(BiasAdditions(self._keep, lambda: bool(self._frames) and _is_frozen(self._frames[-1].module)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def terms(self, score: Float[Tensor, ""], inputs: Maps, *, retain_graph: bool = False) -> tuple[Maps, list[BiasTerm]]:
        """Return the score's gradient at `inputs`, a leaf of the graph, and the term of every bias, from one backward pass.

        A layer that the score does not depend on gives no term.
        """
        edges: list[Any] = [call.edge for call in self._calls]
        gradient, *of_biases = gradients_of(score, [inputs, *edges], retain_graph=retain_graph, allow_unused=True)
        terms = []
        for call, gradient_of_output in zip(self._calls, of_biases, strict=True):
            if gradient_of_output is not None:
                products = to_float32(gradient_of_output) * call.bias
                maps = None if call.to_maps is None else call.to_maps(products)
                terms.append(BiasTerm(call.path, products.flatten(1).sum(dim=1), maps))
        return torch.zeros_like(inputs) if gradient is None else to_float32(gradient), terms

    def _enter_layer(self, path: str, module: nn.Module, inputs: Any) -> None:
        self._frames.append(_Frame(path, module))

    def _keep(self, result: Tensor, bias: Tensor) -> None:
        if not self._counts(result):
            return
        # The edge now: an in-place ReLU behind the addition makes the tensor another node's output.
        edge = get_gradient_edge(result)
        if self._frames:
            self._frames[-1].additions.append((result.shape, to_float32(bias), edge))
        elif self._is_map(result):
            self._calls.append(_Call("", to_float32(bias), edge, _as_it_is))
        elif result.ndim == 2:  # a head called as a function
            self._calls.append(_Call("", to_float32(bias), edge, None))

    def _leave_layer(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._frames or self._frames[-1].module is not module:  # a pre-hook of the user's raised before the layer was entered
            return
        frame = self._frames.pop()
        if not isinstance(output, Tensor):
            return
        if not frame.additions and self._counts(output):  # a bias added in a way of its own
            bias = bias_of(module)
            if bias is not None:
                axes = 0 if isinstance(module, nn.Linear) else output.ndim - 2
                frame.additions.append((output.shape, to_float32(bias).reshape(-1, *[1] * axes), get_gradient_edge(output)))
        for shape, bias, edge in frame.additions:
            self._calls.append(_Call(frame.path, bias, edge, self._reading(output, shape, frame.path, module)))

    def _counts(self, result: Tensor) -> bool:
        # Where samples are folded into another axis their parts are unknown.
        return result.requires_grad and len(result) == self._batch

    def _is_map(self, result: Tensor | torch.Size) -> bool:
        shape = result.shape if isinstance(result, Tensor) else result
        return len(shape) == 2 + len(self._input_size)

    def _reading(self, output: Tensor, shape: torch.Size, path: str, module: nn.Module) -> Callable[[Tensor], Tensor] | None:
        if not isinstance(module, nn.Linear) and self._is_map(shape):
            return _as_it_is  # also at 1x1, where the map is flat
        if output.shape != shape:
            return None  # what is known of the layer's output is not known of this
        try:
            layout = self._fit(output, path)
        except LayoutError:
            return None
        return partial(layout.to_maps, input_size=self._input_size)


def biased_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers with a bias, by path."""
    layers = [("", model), *walk(model)]
    return {path: module for path, module in layers if not is_scripted(module) and (_is_frozen(module) or bias_of(module) is not None)}


def bias_of(module: nn.Module) -> Float[Tensor, " c"] | None:
    """Return a layer's bias in eval mode; None without one, or if it is not a convolution, batch norm or linear layer.

    A batch norm adds -mean gamma / sqrt(var + eps) + beta: its implicit bias (Srinivas & Fleuret, sec. 3.1 and their code).
    """
    if isinstance(module, _BatchNorm):
        return bias_of_normalisation(module.running_mean, module.running_var, module.weight, module.bias, module.eps)
    if isinstance(module, (_ConvNd, nn.Linear)) and isinstance(module.bias, Tensor):
        return module.bias.detach()
    return None


def _is_frozen(module: nn.Module) -> bool:
    """Return whether the module is a normalisation with fixed statistics, but none of torch's, such as FrozenBatchNorm2d."""
    statistics = (getattr(module, "running_mean", None), getattr(module, "running_var", None))
    return not isinstance(module, _BatchNorm) and all(isinstance(statistic, Tensor) for statistic in statistics)


def _as_it_is(output: Tensor) -> Tensor:
    return output
