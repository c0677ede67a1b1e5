"""Layers whose output is (n, c, *spatial) by what they are: convolutions, and parts of a network that end in one."""

import re
from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import (
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
    _AvgPoolNd,
    _MaxPoolNd,
)

from camtool.instrumentation.layer_paths import module_at, walk
from camtool.instrumentation.traversal import modules_of

CONVOLUTIONAL = (_ConvNd, _BatchNorm, nn.GroupNorm, _AvgPoolNd, _MaxPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)
_ELEMENTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.GELU,
    nn.SiLU,
    nn.ELU,
    nn.LeakyReLU,
    nn.Hardswish,
    nn.Tanh,
    nn.Sigmoid,
    nn.modules.dropout._DropoutNd,
)


_NOT_OF_TOKENS = (_ConvNd, _BatchNorm, nn.GroupNorm)
_OF_TOKENS = re.compile("attention|attn|transformer|mixer|token", re.IGNORECASE)


def is_convolutional_network(model: nn.Module) -> bool:
    """Return whether a network is a CNN: most of its layers with weights are convolutions and their norms, and none is of tokens.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.convolutional import is_convolutional_network
        >>> cnn = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> is_convolutional_network(cnn), is_convolutional_network(nn.TransformerEncoderLayer(8, 2))
        (True, False)
    """
    modules = modules_of(model)
    weighted = [module for module in modules if module._parameters]
    convolutional = sum(isinstance(module, _NOT_OF_TOKENS) for module in weighted)
    return 2 * convolutional > len(weighted) and not any(_OF_TOKENS.search(type(module).__name__) for module in modules)


def is_convolutional(module: nn.Module) -> bool:
    """Return whether a module is a convolution, a norm or pooling of maps, or a chain of such layers and activations.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.convolutional import is_convolutional
        >>> is_convolutional(nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU())), is_convolutional(nn.Linear(8, 8))
        (True, False)
    """
    if isinstance(module, nn.Sequential):
        parts = list(module)
        return any(is_convolutional(part) for part in parts) and all(
            isinstance(part, _ELEMENTWISE) or is_convolutional(part) for part in parts
        )
    return isinstance(module, CONVOLUTIONAL)


def is_in_chain_of_convolutions(model: nn.Module, path: str) -> bool:
    """Return whether the module at a canonical path is part of an nn.Sequential, and it and what is in front of it are convolutional."""
    around = path.rpartition("[" if path.endswith("]") else ".")[0]
    outer = module_at(model, around)
    if not path or not isinstance(outer, nn.Sequential):
        return False
    parts, own = list(outer), module_at(model, path)
    place = next((place for place, part in enumerate(parts) if part is own), None)
    return place is not None and is_convolutional(nn.Sequential(*parts[: place + 1]))


def last_layer(model: nn.Module, path: str) -> nn.Module | None:
    """Return the last layer with parameters inside the module at a canonical path, or else in front of it; None if there is none."""
    whole = module_at(model, path)
    parts = [whole, *(module for _, module in walk(whole, every_path=True))] if path else []
    last = next(filter(_has_weights, reversed(parts)), None)
    if last is not None:
        return last
    reached = False
    for other, module in (("", model), *walk(model, every_path=True)):
        inside = other == path or other.startswith((f"{path}.", f"{path}["))
        if reached and not inside:
            break
        reached = reached or inside
        if _has_weights(module):
            last = module
    return last


def _has_weights(module: nn.Module) -> bool:
    return isinstance(module, CONVOLUTIONAL) or (_has_any(module._parameters) and not _has_any(module._modules))


def _has_any(parts: Mapping[str, object]) -> bool:
    return any(part is not None for part in parts.values())
