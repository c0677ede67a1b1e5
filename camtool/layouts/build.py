"""Which layout reads a tensor: the one that is given, or the one that its shape tells."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from camtool.errors import LayoutError, times
from camtool.layouts._base import Layout, describe
from camtool.layouts.channels import ChannelsFirst, ChannelsLast
from camtool.layouts.tokens import Tokens
from camtool.registry import LAYOUTS, build


def build_layout(spec: str | Mapping[str, Any] | Layout | None) -> Layout | None:
    """Return the layout that a name or a config dict (`dict(type='Tokens', num_extra_tokens=1)`) describes; None: to be found.

    Raises:
        ConfigError: if there is no such layout, or a keyword is not one of its settings.
    """
    return None if spec is None else build(LAYOUTS, spec)


def fit_layout(
    tensor: Tensor, batch: int, input_size: Sequence[int], layout: Layout | None = None, *, module: nn.Module | None = None
) -> Layout:
    """Return a layout that reads `tensor` as maps over an input of `input_size`: the given one, or the one its shape tells.

    `module`, which gave the tensor, settles what the shape of a signal's features leaves open: (n, c, length) or (n, length, c).

    Raises:
        LayoutError: if the tensor is batch-folded, has no spatial extent, or fits no layout; the message says what was found.
    """
    if tensor.ndim < 2 or tensor.shape[0] != batch:
        raise LayoutError(
            f"{describe(tensor)} does not start with the batch of {batch}: "
            "its samples are folded into other axes, or it has none; choose a layer outside of that part."
        )
    candidates: list[Layout] = [ChannelsFirst(), ChannelsLast(), Tokens()]
    if layout is not None:
        candidates = [layout]
    elif module is not None and _works_on_last_axis(module, tensor.shape[-1]):
        candidates.reverse()
    reasons = []
    for candidate in candidates:
        reason = candidate.mismatch(tensor.shape, input_size, given=layout is not None)
        if reason is None:
            return candidate
        reasons.append(reason)
    raise LayoutError(f"{describe(tensor)} is not a map over the {times(input_size)} input: {'; '.join(dict.fromkeys(reasons))}.")


def _works_on_last_axis(module: nn.Module, width: int) -> bool:
    norms = (part for part in module.modules() if isinstance(part, nn.LayerNorm))
    return (isinstance(module, nn.Linear) and module.out_features == width) or any(norm.normalized_shape == (width,) for norm in norms)
