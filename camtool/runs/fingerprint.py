"""What tells another run from this one: network, methods, settings, data, versions; no times and no paths of a machine."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from camtool import __version__
from camtool.apis import Explainer
from camtool.apis.settings import ExplainerSettings
from camtool.methods import BaseMethod

_MOST_SHOWN = 80
_CONFIG_KEYS = ("model", "data_preprocessor", "test_pipeline", "input")


def fingerprint_of(explainer: Explainer) -> dict[str, Any]:
    """Return what the maps of an explainer depend on, as JSON values."""
    loaded = explainer.settings.loaded
    recipe = {key: value for key, value in loaded.cam.items() if not key.startswith("checkpoint")}  # the weights have a digest
    return {
        "config": plain({**{key: loaded.config.get(key) for key in _CONFIG_KEYS}, "cam": recipe}),
        "checkpoint": weights_digest(explainer.network.model),
        **settings_of(explainer),
        "device": torch.device(explainer.settings.model.device).type,
        "precision": str(next(explainer.network.model.parameters()).dtype).removeprefix("torch."),
        "versions": {"torch": torch.__version__, "camtool": __version__},
    }


def settings_of(explainer: Explainer) -> dict[str, Any]:
    """Return the part of a fingerprint that is how an explainer explains, as JSON values: methods, layers, placement and options."""
    cam = explainer.settings.cam
    options = {name: cam[name] for name in ("layout", "input_axes", "call", "output", "aug_smooth", "eigen_smooth", "fuse", "speed")}
    return {
        "methods": {name: plain(method) for name, method in explainer.cam.methods.items()},
        "target_layers": plain(cam["target_layers"]),
        "placement": plain({"kind": explainer.placement.kind, "numbers": explainer.placement.numbers}),
        "options": plain({**options, **_windows(explainer.settings)}),
    }


def _windows(settings: ExplainerSettings) -> dict[str, Any]:
    return {} if settings.window is None else {"window": settings.window, "overlap": settings.overlap}


def weights_digest(model: nn.Module) -> str:
    """Return the sha256 of a network's parameters and buffers, with their names, types and shapes.

    Example:
        >>> from torch import nn
        >>> layer = nn.Linear(2, 1)
        >>> before = weights_digest(layer)
        >>> _ = layer.bias.data.add_(1)
        >>> weights_digest(layer) == before
        False
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if value.is_quantized:
            value = value.int_repr()  # noqa: PLW2901
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """Return a setting as a JSON value: modules, functions and other objects by their type and settings."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if callable(value) and not isinstance(value, (nn.Module, BaseMethod)):
        return getattr(value, "__qualname__", type(value).__qualname__)
    settings = {} if isinstance(value, (nn.Module, Tensor)) else getattr(value, "__dict__", {})
    return {"type": type(value).__qualname__, **{name.lstrip("_"): plain(item) for name, item in sorted(settings.items())}}


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Yield what differs between two fingerprints: "config.model.depth: 18 instead of 50".

    Example:
        >>> list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}))
        ['a.b: 3 instead of 1']
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif before != now:
        shown = [str(value) if len(str(value)) <= _MOST_SHOWN else f"{str(value)[:_MOST_SHOWN]}…" for value in (now, before)]
        digests = all(isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2 for value in (before, now))
        yield name if digests else f"{name}: {shown[0]} instead of {shown[1]}"
