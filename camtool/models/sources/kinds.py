"""What an input of a network is, an image, a volume or a signal: said by the config, else by the rank of the first convolution."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from camtool.config.loading import LoadedConfig
from camtool.errors import ConfigError, closest

IMAGE, VOLUME, SIGNAL = "image", "volume", "signal"
KINDS = (IMAGE, VOLUME, SIGNAL)

_BY_RANK = {nn.Conv1d: SIGNAL, nn.Conv2d: IMAGE, nn.Conv3d: VOLUME}


def said_kind(loaded: LoadedConfig) -> str | None:
    """Return what a config's `input=dict(kind=…)` says an input is; None: nothing.

    Raises:
        ConfigError: if it is no kind.
    """
    spec = loaded.config.get("input")
    if spec is None:
        return None
    if not isinstance(spec, Mapping):
        raise ConfigError(f"'input' of '{loaded.name}' must be a dict such as dict(kind='volume'), got {spec!r}.")
    kind = spec.get("kind")
    if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
        raise ConfigError(f"'input.kind' must be one of {', '.join(KINDS)}, got {kind!r}{closest(str(kind), KINDS)}.")
    return kind


def said_preprocess(loaded: LoadedConfig) -> dict[str, Any]:
    """Return what a config's `input=dict(preprocess=dict(…))` says is done with a volume or a signal before the test pipeline; {}: nothing.

    Raises:
        ConfigError: if it is no dict.
    """
    spec = (loaded.config.get("input") or {}).get("preprocess", {})
    if not isinstance(spec, Mapping):
        raise ConfigError(f"'input.preprocess' of '{loaded.name}' must be a dict such as dict(size=32), got {spec!r}.")
    return dict(spec)


def input_kind(loaded: LoadedConfig, model: nn.Module) -> str:
    """Return what an input of a config's network is: "image", "volume" or "signal".

    Example:
        >>> from camtool.config.loading import load_config
        >>> input_kind(load_config("timm/resnet18"), nn.Sequential(nn.Conv3d(1, 2, 3)))
        'volume'
    """
    said = said_kind(loaded)
    if said is not None:
        return said
    first = next((module for module in model.modules() if isinstance(module, tuple(_BY_RANK))), None)
    return IMAGE if first is None else next(kind for layer, kind in _BY_RANK.items() if isinstance(first, layer))
