"""Layouts from names and config dicts, and the layout that fits a tensor's shape."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from camtool.errors import LayoutError, times
from camtool.layouts._base import Layout, describe
from camtool.layouts.channels import ChannelsFirst, ChannelsLast
from camtool.layouts.rearranged import Rearranged
from camtool.layouts.tokens import Tokens
from camtool.registry import LAYOUTS, build, read_spec

LayoutSpec: TypeAlias = str | Mapping[str, Any] | Layout | Callable[[Tensor], Tensor] | None

EXAMPLE = "Tokens(grid=14x14,front=1)"


def build_layout(spec: LayoutSpec) -> Layout | None:
    """Return the layout that a name, a config dict (`dict(type='Tokens', front=1)`), its text ("Tokens(front=1)") or a function describes.

    A function converts a layer's tensor to maps (n, c, *spatial). None for None.

    Raises:
        ConfigError: if there is no such layout, a keyword is not one of its settings, or a text cannot be read.

    Example:
        >>> from camtool.layouts import build_layout
        >>> type(build_layout("ChannelsLast")).__name__
        'ChannelsLast'
        >>> build_layout({"type": "Tokens", "num_extra_tokens": 1}).num_extra_tokens
        1
        >>> build_layout("Tokens(grid=8x14x14, front=1)").grid
        (8, 14, 14)
    """
    if spec is None:
        return None
    if callable(spec) and not isinstance(spec, Layout):
        return Rearranged(spec)
    return build(LAYOUTS, read_spec(spec, "layout", EXAMPLE) if isinstance(spec, str) else spec, base=Layout)


def fit_layout(
    tensor: Tensor, batch: int, input_size: Sequence[int], layout: Layout | None = None, *, module: nn.Module | None = None
) -> Layout:
    """Return the layout that reads `tensor` as maps over an input of `input_size`: `layout` if it is given, else the first that fits.

    `module`, whose output the tensor is, decides where the shape of a signal's features is ambiguous: (n, c, length) or (n, length, c).

    Raises:
        LayoutError: if samples are folded into another axis, the tensor has no spatial extent, or no layout fits; the message has the
            shape and the reason.

    Example:
        >>> import torch
        >>> from camtool.layouts import fit_layout
        >>> type(fit_layout(torch.zeros(2, 512, 7, 7), 2, (224, 224))).__name__
        'ChannelsFirst'
        >>> tokens = torch.zeros(2, 197, 768)
        >>> fit_layout(tokens, 2, (224, 224)).to_maps(tokens, (224, 224)).shape
        torch.Size([2, 768, 14, 14])
    """
    refusal = None if layout is None else layout.mismatch(tensor.shape, input_size, given=True)
    axis = 0 if layout is None else layout.batch_axis  # that of a function is found by mismatch()
    if tensor.ndim < max(2, axis + 1) or tensor.shape[axis] != batch:
        raise LayoutError(
            f"{describe(tensor)} does not start with the batch of {batch}: "
            "its samples are folded into other axes, or it has no batch axis. Choose a layer outside of that part of the network."
        )
    candidates: list[Layout] = [ChannelsFirst(), ChannelsLast(), Tokens()]
    if layout is not None:
        candidates = [layout]
    elif module is not None and _works_on_last_axis(module, tensor.shape[-1]):
        candidates.reverse()
    reasons = []
    for candidate in candidates:
        reason = refusal if layout is not None else candidate.mismatch(tensor.shape, input_size, given=False)
        if reason is None:
            return candidate
        reasons.append(reason)
    raise LayoutError(f"{describe(tensor)} is not a map over the {times(input_size)} input: {'; '.join(dict.fromkeys(reasons))}.")


def _works_on_last_axis(module: nn.Module, width: int) -> bool:
    norms = (part for part in module.modules() if isinstance(part, nn.LayerNorm))
    return (isinstance(module, nn.Linear) and module.out_features == width) or any(norm.normalized_shape == (width,) for norm in norms)
