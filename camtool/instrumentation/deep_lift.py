"""The rescale rule of DeepLIFT: Shrikumar et al. 2017, arXiv:1704.02685.

A network is run on a batch whose first half is the inputs and whose second half is the references, sample by sample. torch's backward
pass of the mean of both halves' scores then gives DeepLIFT's multipliers: the sum of both halves' gradients.

- A nonlinearity's gradient is, in both halves, the difference of its outputs divided by the difference of its inputs.
- Linear functions need no rule. Products of two activations need none either: the mean of both halves makes
  a b - a' b' = (a - a') (b + b') / 2 + (b - b') (a + a') / 2 exact.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ELEMENTWISE = {
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "threshold"),
    *("sigmoid", "hardsigmoid", "logsigmoid", "log_sigmoid", "tanh", "hardtanh", "softplus", "softsign", "tanhshrink", "softshrink"),
    *("hardshrink", "exp", "log", "sqrt", "rsqrt", "pow", "square", "abs", "clamp", "clamp_min", "clamp_max"),
}
"""Names of functions of one activation; their other arguments are constant."""
POOLING = {f"{kind}max_pool{rank}d" for kind in ("", "adaptive_") for rank in (1, 2, 3)}
UNDEFINED = {
    *("softmax", "log_softmax", "scaled_dot_product_attention", "multi_head_attention_forward", "logsumexp"),
    *("layer_norm", "rms_norm", "group_norm", "instance_norm", "local_response_norm", "normalize", "norm", "var", "std", "var_mean"),
    *("max", "amax", "min", "amin", "maximum", "minimum", "div", "true_divide", "where", "glu"),
}
"""Names of functions of several activations without a rule; used for messages only."""


class Rescaling(TorchFunctionMode):
    """Applies the rescale rule to nonlinearities while entered. The module's docstring describes the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.undefined: set[str] = set()
        """Names of the functions without a rule that were called."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        plain = name.removesuffix("_")
        activations = args[0] if args else kwargs.get("input")
        if not (isinstance(activations, Tensor) and activations.requires_grad and torch.is_grad_enabled() and _is_pair(activations)):
            return func(*args, **kwargs)
        if plain in UNDEFINED:
            self.undefined.add(plain)
        rest = args[1:]
        kwargs = {key: value for key, value in kwargs.items() if key != "input"}
        if name in POOLING:
            pool = getattr(F, name)
            kwargs["return_indices"] = True
            return _RescaledPooling.apply(activations, lambda inputs: pool(inputs, *rest, **kwargs))
        if plain not in ELEMENTWISE:
            return func(activations, *rest, **kwargs)
        in_place = kwargs.pop("inplace", False) or plain != name
        function = func if plain == name else getattr(torch, plain, None) or getattr(F, plain)
        # A copy: the rule needs the input that an in-place function overwrites.
        outputs = _Rescaled.apply(activations.clone() if in_place else activations, lambda inputs: function(inputs, *rest, **kwargs))
        return activations.copy_(outputs) if in_place else outputs


def _is_pair(tensor: Tensor) -> bool:
    return tensor.ndim > 0 and tensor.shape[0] % 2 == 0


def _sum(pair: Tensor) -> Tensor:
    first, second = pair.chunk(2)
    return first + second


def _movement(pair: Tensor) -> Tensor:
    """Return the first half minus the second."""
    first, second = pair.chunk(2)
    return first - second


def _ratio(outputs: Tensor, inputs: Tensor, scale: Tensor, slope: Tensor) -> Tensor:
    """Return outputs / inputs, or the slope where the input's difference is within rounding of zero."""
    still = inputs.abs() <= 8 * torch.finfo(inputs.dtype).eps * scale
    return torch.where(still, slope, outputs / inputs.masked_fill(still, 1))


class _Rescaled(torch.autograd.Function):
    """An elementwise function."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        outputs = function(inputs)
        ctx.save_for_backward(inputs, outputs)
        ctx.function = function
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        inputs, outputs = ctx.saved_tensors
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            (slopes,) = torch.autograd.grad(ctx.function(leaf).sum(), leaf)
        scale = torch.maximum(*inputs.abs().chunk(2))
        multiplier = _ratio(_movement(outputs), _movement(inputs), scale, _sum(slopes) / 2)
        share = _sum(gradients[0]) * multiplier / 2
        return torch.cat([share, share]), None


class _RescaledPooling(torch.autograd.Function):
    """Max pooling: the whole difference goes to the position of the maximum in the half where it is larger."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, pool: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        outputs, places = pool(inputs)
        ctx.save_for_backward(inputs, outputs, places)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        inputs, outputs, places = ctx.saved_tensors
        (first, second), (first_place, second_place) = outputs.chunk(2), places.chunk(2)
        place = torch.where(first >= second, first_place, second_place).flatten(2)
        at_place = [half.flatten(2).gather(2, place) for half in inputs.chunk(2)]
        scale = torch.maximum(at_place[0].abs(), at_place[1].abs())
        movement = (first - second).flatten(2)
        multiplier = _ratio(movement, at_place[0] - at_place[1], scale, torch.ones_like(movement))
        share = _sum(gradients[0]).flatten(2) * multiplier / 2
        spread = torch.zeros_like(inputs.chunk(2)[0]).flatten(2).scatter_add(2, place, share).view_as(inputs.chunk(2)[0])
        return torch.cat([spread, spread]), None
