"""The fused attention functions of torch, written out so that the attention weights are a tensor of the graph."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from camtool.functional import to_float32
from camtool.instrumentation.precision import without_autocast

Keep: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes scores and weights (*batch, queries, keys); returns the weights to use."""

_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


class ExplicitAttention(TorchFunctionMode):
    """Writes attention out in this thread while entered: torch's fused kernels have no second derivative.

    Not torch's choice of a kernel, `sdpa_kernel`: it is one for all threads, and would be left changed by two that overlap.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return scaled_dot_product_attention(_as_they_are, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            return multi_head_attention_forward(_as_they_are, args, kwargs)
        return func(*args, **kwargs)


def _as_they_are(scores: Tensor, weights: Tensor) -> Tensor:
    return weights


def scaled_dot_product_attention(  # noqa: PLR0913 - torch's signature, and `keep`
    keep: Keep,
    query: Float[Tensor, "*batch queries width"],
    key: Float[Tensor, "*key_batch keys width"],
    value: Float[Tensor, "*key_batch keys value_width"],
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "*batch queries value_width"]:
    """Return softmax(query key^T scale + mask) value, as `F.scaled_dot_product_attention` does; in float32 or wider within.

    Differs from it: dropout is left out. The engine explains networks in eval mode; dropout even there would give another map each time.
    """
    device = query.device.type
    dtype = value.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    with without_autocast(device):
        # Rounded as autocast would round before the product.
        query, key, value = (to_float32(tensor.to(dtype)) for tensor in (query, key, value))
        if enable_gqa:
            key, value = (tensor.repeat_interleave(query.shape[-3] // tensor.shape[-3], dim=-3) for tensor in (key, value))
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~allowed, -torch.inf)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        # A query without visible keys gets zeros, as in torch; softmax would give NaN, whose gradient spreads.
        blind = (scores == -torch.inf).all(dim=-1, keepdim=True)
        weights = scores.masked_fill(blind, 0).softmax(dim=-1).masked_fill(blind, 0)
        return (keep(scores, weights) @ value).to(dtype)


def multi_head_attention_forward(keep: Keep, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Return (output, weights or None) as `F.multi_head_attention_forward(*args, **kwargs)`, which nn.MultiheadAttention calls.

    The weights that torch's own function returns are not on the path to its output and have no gradient.
    """
    bound = _MULTI_HEAD.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = SimpleNamespace(**bound.arguments)
    is_batched = arguments.query.ndim == 3
    query, key, value = (tensor if is_batched else tensor.unsqueeze(1) for tensor in (arguments.query, arguments.key, arguments.value))
    query, key, value = _projected(arguments, query, key, value)  # (length, n, width)
    if arguments.bias_k is not None:
        key, value = (
            torch.cat([tensor, bias.expand(-1, tensor.shape[1], -1)])
            for tensor, bias in ((key, arguments.bias_k), (value, arguments.bias_v))
        )
    query, key, value = (tensor.unflatten(-1, (arguments.num_heads, -1)).permute(1, 2, 0, 3) for tensor in (query, key, value))
    if arguments.static_k is not None:
        key = arguments.static_k.unflatten(0, (-1, arguments.num_heads))
    if arguments.static_v is not None:
        value = arguments.static_v.unflatten(0, (-1, arguments.num_heads))
    if arguments.add_zero_attn:
        key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
    kept_weights: list[Tensor] = []

    def keep_and_remember(scores: Tensor, weights: Tensor) -> Tensor:
        kept_weights.append(keep(scores, weights))
        return kept_weights[0]

    attended = scaled_dot_product_attention(keep_and_remember, query, key, value, _mask(arguments, query, key))
    output = F.linear(attended.permute(2, 0, 1, 3).flatten(2), arguments.out_proj_weight, arguments.out_proj_bias)
    weights = None
    if arguments.need_weights:
        weights = kept_weights[0].to(output.dtype)
        weights = weights.mean(dim=1) if arguments.average_attn_weights else weights
        weights = weights if is_batched else weights.squeeze(0)
    return (output if is_batched else output.squeeze(1)), weights


def _projected(arguments: SimpleNamespace, *inputs: Tensor) -> list[Tensor]:
    if arguments.use_separate_proj_weight:
        weights = [arguments.q_proj_weight, arguments.k_proj_weight, arguments.v_proj_weight]
    else:
        weights = list(arguments.in_proj_weight.chunk(3))
    biases = [None] * 3 if arguments.in_proj_bias is None else arguments.in_proj_bias.chunk(3)
    return [F.linear(tensor, weight, bias) for tensor, weight, bias in zip(inputs, weights, biases, strict=True)]


def _mask(arguments: SimpleNamespace, query: Tensor, key: Tensor) -> Tensor | None:
    """Return the sum of both masks, to be added to the scores (n, heads, queries, keys)."""
    masks = []
    if arguments.attn_mask is not None:  # (queries, keys) or (n * heads, queries, keys)
        mask = _additive(arguments.attn_mask, query, key)
        masks.append(mask.unflatten(0, (-1, arguments.num_heads)) if mask.ndim == 3 else mask)
    if arguments.key_padding_mask is not None:  # (n, keys) or (keys)
        mask = _additive(arguments.key_padding_mask, query, key)
        masks.append(mask.view(-1, 1, 1, mask.shape[-1]))
    return sum(masks[1:], start=masks[0]) if masks else None


def _additive(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    if mask.dtype == torch.bool:  # True hides, unlike in scaled_dot_product_attention
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill(mask, -torch.inf)
    return F.pad(mask, (0, key.shape[2] - mask.shape[-1]))  # keys appended by bias_k and add_zero_attn are seen by all
