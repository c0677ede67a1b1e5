"""By the kind of a network's input: how files are read, how they are preprocessed, and an input of zeros."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from camtool.config.loading import LoadedConfig
from camtool.errors import ConfigError, ImageError, closest
from camtool.io import images, signals, volumes
from camtool.io.images import Picture
from camtool.io.pillow import Reading
from camtool.io.signals import Signal, SignalReading
from camtool.io.volumes import Geometry, Volume, VolumeReading
from camtool.models.sources._base import Preprocess
from camtool.models.sources.kinds import IMAGE, SIGNAL, VOLUME
from camtool.models.sources.preprocessing import reading_of
from camtool.models.sources.signal_preprocessing import SignalPreprocess
from camtool.models.sources.volume_preprocessing import VolumePreprocess

AnyReading: TypeAlias = Reading | VolumeReading | SignalReading

_READINGS: Mapping[str, Any] = {VOLUME: VolumeReading, SIGNAL: SignalReading}
_BLANK_SIDE, _BLANK_LENGTH, _BLANK_RATE = 64, 1024, 100.0


def files_read(loaded: LoadedConfig, kind: str) -> AnyReading:
    """Return how a config says that files of this kind are read: `input=dict(kind=…, spacing=…)`; of images `model.preprocess`.

    Raises:
        ConfigError: if a key is misspelt, or a value invalid.
    """
    if kind == IMAGE:
        return reading_of(loaded)
    spec: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in (loaded.config.get("input") or {}).items()
    }
    spec.pop("kind", None)
    reading = _READINGS[kind]
    known = tuple(reading.__dataclass_fields__)
    for key in spec:
        if key not in known:
            raise ConfigError(f"'input' has no key '{key}'{closest(key, known)}; expected kind, {', '.join(known)}.")
    try:
        read: VolumeReading | SignalReading = reading(**spec)
    except ImageError as error:
        raise ConfigError(f"'input': {error}") from error
    return read


def suffixes_of(reading: AnyReading | None) -> Sequence[str]:
    """Return what the names of files that are read so end in; with `channels` of images, arrays are images, too.

    Example:
        >>> suffixes_of(Reading(channels=(0, 1)))[-1]
        '.npy'
    """
    if isinstance(reading, VolumeReading):
        return volumes.SUFFIXES
    if isinstance(reading, SignalReading):
        return signals.SUFFIXES
    return images.SUFFIXES if reading is None or reading.channels is None else (*images.SUFFIXES, ".npy")


def described_as(kind: str, spec: Any) -> Preprocess:
    """Return the preprocessing of volumes or signals that a config's `model.preprocess` describes.

    Raises:
        ConfigError: if it is no dict, a key is misspelt, or a value invalid.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"'preprocess' of a network on {kind}s must be a dict; dict() feeds the array as it lies. Got {spec!r}.")
    return VolumePreprocess(dict(spec)) if kind == VOLUME else SignalPreprocess(dict(spec))


def blank(kind: str, model: nn.Module) -> Picture | Volume | Signal:
    """Return an input of zeros of this kind, as its preprocessing takes it."""
    if kind == VOLUME:
        return Volume(np.zeros((_BLANK_SIDE,) * 3, np.float32), Geometry(np.eye(4)), "zeros")
    if kind == SIGNAL:
        channels = next((module.in_channels for module in model.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d))), 1)
        return Signal(np.zeros((channels, _BLANK_LENGTH), np.float32), _BLANK_RATE, tuple(map(str, range(channels))), name="zeros")
    return np.zeros((256, 256, 3), np.uint8)
