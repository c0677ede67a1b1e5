"""Which layout reads a tensor: the one that is given, or the one that its shape tells."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from camtool.errors import ConfigError, LayoutError, closest, times
from camtool.layouts._base import Layout, describe
from camtool.layouts.channels import ChannelsFirst, ChannelsLast
from camtool.layouts.tokens import Tokens
from camtool.registry import LAYOUTS


def build_layout(spec: str | dict[str, Any] | Layout | None) -> Layout | None:
    """Return the layout that a name or a config dict (`dict(type='Tokens', num_extra_tokens=1)`) describes; None: to be found."""
    if spec is None or isinstance(spec, Layout):
        return spec
    arguments = {"type": spec} if isinstance(spec, str) else dict(spec)
    name = arguments.pop("type", None)
    layout_class = LAYOUTS.module_dict.get(name)
    if layout_class is None:
        known = ", ".join(LAYOUTS.module_dict)
        raise ConfigError(f"Unknown layout {name!r}{closest(str(name), LAYOUTS.module_dict)}; expected one of: {known}.")
    try:
        return layout_class(**arguments)
    except TypeError as error:
        raise ConfigError(f"Layout {name}: {error}.") from error


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
