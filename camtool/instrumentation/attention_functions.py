"""What the fused attention functions of torch compute, written out, so that the attention weights are a tensor of the graph."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from camtool.functional import to_float32

Keep: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes scores and weights (*batch, queries, keys); returns the weights to go on with."""

_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


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

    Differs from it: dropout is left out. The engine explains networks in eval mode; one that drops attention even there would
    give another map each time.
    """
    device = query.device.type
    dtype = value.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        # What autocast would have rounded before the product is rounded here, too.
        query, key, value = (to_float32(tensor.to(dtype)) for tensor in (query, key, value))
        if enable_gqa:
            key, value = (tensor.repeat_interleave(query.shape[-3] // tensor.shape[-3], dim=-3) for tensor in (key, value))
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~allowed, -torch.inf)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        # A query that may see nothing gets nothing, as in torch; softmax would give NaN, whose gradient spreads.
        blind = (scores == -torch.inf).all(dim=-1, keepdim=True)
        weights = scores.masked_fill(blind, 0).softmax(dim=-1).masked_fill(blind, 0)
        return (keep(scores, weights) @ value).to(dtype)


def multi_head_attention_forward(keep: Keep, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Return (output, weights or None) as `F.multi_head_attention_forward(*args, **kwargs)`, in which nn.MultiheadAttention arrives.

    The weights that torch's own returns are a view off the path to its output and have no gradient.
    """
    bound = _MULTI_HEAD.bind(*args, **kwargs)
    bound.apply_defaults()
    given = SimpleNamespace(**bound.arguments)
    is_batched = given.query.ndim == 3
    query, key, value = (tensor if is_batched else tensor.unsqueeze(1) for tensor in (given.query, given.key, given.value))
    query, key, value = _projected(given, query, key, value)  # (length, n, width)
    if given.bias_k is not None:
        key, value = (torch.cat([one, bias.expand(-1, one.shape[1], -1)]) for one, bias in ((key, given.bias_k), (value, given.bias_v)))
    query, key, value = (tensor.unflatten(-1, (given.num_heads, -1)).permute(1, 2, 0, 3) for tensor in (query, key, value))
    if given.static_k is not None:
        key = given.static_k.unflatten(0, (-1, given.num_heads))
    if given.static_v is not None:
        value = given.static_v.unflatten(0, (-1, given.num_heads))
    if given.add_zero_attn:
        key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
    kept: list[Tensor] = []

    def kept_too(scores: Tensor, weights: Tensor) -> Tensor:
        kept.append(keep(scores, weights))
        return kept[0]

    attended = scaled_dot_product_attention(kept_too, query, key, value, _mask(given, query, key))
    output = F.linear(attended.permute(2, 0, 1, 3).flatten(2), given.out_proj_weight, given.out_proj_bias)
    weights = None
    if given.need_weights:
        weights = kept[0].to(output.dtype)
        weights = weights.mean(dim=1) if given.average_attn_weights else weights
        weights = weights if is_batched else weights.squeeze(0)
    return (output if is_batched else output.squeeze(1)), weights


def _projected(given: SimpleNamespace, *inputs: Tensor) -> list[Tensor]:
    if given.use_separate_proj_weight:
        weights = [given.q_proj_weight, given.k_proj_weight, given.v_proj_weight]
    else:
        weights = list(given.in_proj_weight.chunk(3))
    biases = [None] * 3 if given.in_proj_bias is None else given.in_proj_bias.chunk(3)
    return [F.linear(tensor, weight, bias) for tensor, weight, bias in zip(inputs, weights, biases, strict=True)]


def _mask(given: SimpleNamespace, query: Tensor, key: Tensor) -> Tensor | None:
    """Return what both masks together add to the scores (n, heads, queries, keys)."""
    masks = []
    if given.attn_mask is not None:  # (queries, keys) or (n * heads, queries, keys)
        mask = _additive(given.attn_mask, query, key)
        masks.append(mask.unflatten(0, (-1, given.num_heads)) if mask.ndim == 3 else mask)
    if given.key_padding_mask is not None:  # (n, keys) or (keys)
        mask = _additive(given.key_padding_mask, query, key)
        masks.append(mask.view(-1, 1, 1, mask.shape[-1]))
    return sum(masks[1:], start=masks[0]) if masks else None


def _additive(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    if mask.dtype == torch.bool:  # True hides, other than in scaled_dot_product_attention
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill(mask, -torch.inf)
    return F.pad(mask, (0, key.shape[2] - mask.shape[-1]))  # keys appended by bias_k and add_zero_attn are seen by all
