"""Recognition of the functions that add a bias: convolutions, linear maps, and normalisations with fixed statistics."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {getattr(torch, f"conv{kind}{rank}d") for kind in ("", "_transpose") for rank in (1, 2, 3)}
_ADDITIONS = {Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__, torch.add}


class BiasAdditions(TorchFunctionMode):
    """Calls `keep(result, bias)` for each addition of a bias while entered; the bias is shaped so that it multiplies the result.

    Args:
        in_frozen: whether a normalisation is running that is written out as products and sums, so that the constant it adds is its bias.
    """

    def __init__(self, keep: Callable[[Tensor, Tensor], None], in_frozen: Callable[[], bool]) -> None:
        super().__init__()
        self._keep = keep
        self._in_frozen = in_frozen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and note the bias if it adds one."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and result.requires_grad:
            bias = self._bias(func, args, kwargs, result)
            if bias is not None:
                self._keep(result, bias.detach())
        return result

    def _bias(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> Tensor | None:
        if func in _CONVOLUTIONS or func is F.linear:
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            axes = 0 if func is F.linear else result.ndim - 2
        elif func is F.batch_norm or func is torch.batch_norm or func is F.instance_norm:
            bias, axes = _bias_of_call(func, args, kwargs), result.ndim - 2
        elif func in _ADDITIONS and self._in_frozen():
            return _constant([*args, *kwargs.values()], result)
        else:
            return None
        return None if bias is None else bias.reshape(-1, *[1] * axes)


def bias_of_normalisation(
    mean: Tensor | None, variance: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Float[Tensor, " c"] | None:
    """Return what a normalisation makes of zero: -mean weight / sqrt(variance + eps) + bias; `bias` alone without fixed statistics."""
    if mean is None or variance is None:
        return None if bias is None else bias.detach()
    scale = torch.rsqrt(variance + eps)
    shift = -mean * (scale if weight is None else scale * weight.detach())
    return shift if bias is None else shift + bias.detach()


_TORCH_BATCH_NORM = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "cudnn_enabled")


def _bias_of_call(func: Any, args: Any, kwargs: Any) -> Float[Tensor, " c"] | None:
    if func is torch.batch_norm:
        given = dict(zip(_TORCH_BATCH_NORM, args, strict=False)) | kwargs
    else:
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
    of_batch = given["use_input_stats"] if func is F.instance_norm else given["training"]
    if of_batch and func is F.instance_norm:
        return None  # no affine function of its input, as layer norms
    mean, variance = (None, None) if of_batch else (given["running_mean"], given["running_var"])
    return bias_of_normalisation(mean, variance, given["weight"], given["bias"], given["eps"])


def _constant(operands: list[Any], result: Tensor) -> Tensor | None:
    """Return the tensor among the operands that no input leads to; None if it is added to no map."""
    tensors = [operand for operand in operands if isinstance(operand, Tensor)]
    constant = [tensor for tensor in tensors if not tensor.requires_grad or tensor.is_leaf]
    added_to_map = any(tensor.shape == result.shape and tensor.requires_grad and not tensor.is_leaf for tensor in tensors)
    return constant[0] if len(tensors) == 2 and len(constant) == 1 and added_to_map else None
