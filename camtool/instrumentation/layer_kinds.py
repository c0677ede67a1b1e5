"""Kinds of layers that matter in choosing a target layer: projections inside of attention, and norms."""

from torch import nn

from camtool.instrumentation.traversal import modules_of

_PARTS_OF_PROJECTIONS = (nn.Linear, nn.Dropout, nn.Identity)


def is_projection(module: nn.Module) -> bool:
    """Return whether a layer is linear, or made of linear layers and dropout alone, as LoRA's sum of two.

    In attention the queries, keys and values still have gradients at every patch, but they are parts, not features.

    Example:
        >>> from camtool.instrumentation.layer_kinds import is_projection
        >>> is_projection(nn.Sequential(nn.Linear(4, 2), nn.Dropout())), is_projection(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
        (True, False)
    """
    leaves = [part for part in modules_of(module) if next(part.children(), None) is None]
    return any(isinstance(leaf, nn.Linear) for leaf in leaves) and all(isinstance(leaf, _PARTS_OF_PROJECTIONS) for leaf in leaves)


def is_norm(module: nn.Module) -> bool:
    """Return whether a layer is a normalisation, by its class or the name of it.

    Example:
        >>> from camtool.instrumentation.layer_kinds import is_norm
        >>> is_norm(nn.GroupNorm(2, 4)), is_norm(nn.Conv1d(4, 4, 3))
        (True, False)
    """
    return "norm" in type(module).__name__.casefold() or isinstance(module, (nn.LayerNorm, nn.GroupNorm))
