"""Layers by torch's names, which M3d-Cam's users have in their code: "layer4.1.conv2"."""

from torch import nn

from camtool.instrumentation.layer_paths import find_layer


def get_layers(model: nn.Module, reverse: bool = False) -> list[str]:
    """Return the names of all layers, each behind its parts.

    Args:
        reverse: the last one first.

    Example:
        >>> from torch import nn
        >>> from camtool.compat import medcam
        >>> medcam.get_layers(nn.Sequential(nn.Sequential(nn.ReLU(), nn.ReLU()), nn.Flatten()))
        ['0.0', '0.1', '0', '1']
    """
    names = _names(model, "")
    return names[::-1] if reverse else names


def name_of(model: nn.Module, path: str) -> str:
    """Return torch's name of the layer at a canonical path: "layer4.1" of "layer4[1]"."""
    module = find_layer(model, path)[1]
    return next((name for name, other in model.named_modules() if other is module), path)


def _names(module: nn.Module, prefix: str) -> list[str]:
    names = []
    for name, child in module.named_children():
        names += [*_names(child, f"{prefix}{name}."), f"{prefix}{name}"]
    return names
