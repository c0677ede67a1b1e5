"""By the kind of a network's input: how files are read, how they are preprocessed, and an input of zeros."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from camtool.config.loading import LoadedConfig
from camtool.errors import CamtoolError, ConfigError, DataError, ImageError, closest
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

_READINGS: Mapping[str, Any] = {IMAGE: Reading, VOLUME: VolumeReading, SIGNAL: SignalReading}
_LIMITS = ("max_pixels", "max_bytes")  # of memory: whoever reads a file says them, not who wrote a description
_BLANK_SIDE, _BLANK_LENGTH, _BLANK_RATE = 64, 1024, 100.0


@dataclass(frozen=True)
class NetworkInput:
    """How samples become a network's input."""

    reading: AnyReading
    """How files are read; its type says what a sample is."""
    preprocess: Preprocess | None = None
    """From what is in them to the input; None: it is not known."""

    @classmethod
    def of_rank(cls, rank: int) -> "NetworkInput":
        """Return what is most likely where nothing but the number of spatial axes is known."""
        return cls({1: SignalReading, 3: VolumeReading}.get(rank, Reading)())

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> "NetworkInput":
        """Return what `to_dict` describes; nothing of it is a program.

        Raises:
            DataError: if it is no such description.

        Example:
            >>> given = NetworkInput(VolumeReading(spacing=(1, 1, 2)), VolumePreprocess({"size": (8, 8, 4)}))
            >>> given.to_dict()
            {'kind': 'volume', 'reading': {'spacing': [1.0, 1.0, 2.0]}, 'preprocess': {'size': [8, 8, 4]}}
            >>> NetworkInput.described(given.to_dict()).reading == given.reading
            True
        """
        try:
            kind, values, spec = (description[key] for key in ("kind", "reading", "preprocess"))
            given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name not in _LIMITS}
            return cls(_READINGS[kind](**given), None if spec is None or kind == IMAGE else described_as(kind, spec))
        except (CamtoolError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"The store's description of its samples is damaged: {type(error).__name__}: {error}.") from error

    def read_as(self, description: Any) -> "NetworkInput":
        """Return this input with files read as a run's description of its samples says; limits of memory stay those of this one.

        Args:
            description: of `to_dict`; anything but a dict says nothing.

        Raises:
            DataError: if it is damaged.
        """
        if not isinstance(description, Mapping):
            return self
        reading = NetworkInput.described(description).reading
        if type(reading) is not type(self.reading):
            return self
        limits = {name: getattr(self.reading, name) for name in _LIMITS if hasattr(reading, name)}
        return replace(self, reading=replace(reading, **limits))

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON values; the preprocessing of images, which may be any function, is not described."""
        kind = next(kind for kind, reading in _READINGS.items() if type(self.reading) is reading)
        given = {field.name: getattr(self.reading, field.name) for field in fields(self.reading) if field.name not in _LIMITS}
        given = {name: value for name, value in given.items() if value is not None}
        spec = getattr(self.preprocess, "spec", None)
        described: dict[str, Any] = json.loads(json.dumps({"kind": kind, "reading": given, "preprocess": spec}))
        return described


def files_read(loaded: LoadedConfig, kind: str) -> AnyReading:
    """Return how a config says that files of this kind are read: `input=dict(kind=…, spacing=…)`; of images, else, `model.preprocess`.

    Raises:
        ConfigError: if a key is misspelt, or a value invalid.

    Example:
        >>> from camtool.config.loading import load_config
        >>> files_read(load_config("timm/resnet18", {"input": {"frame": 2}}), IMAGE).frame
        2
    """
    spec: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in (loaded.config.get("input") or {}).items()
    }
    others = ("kind",) if kind == IMAGE else ("kind", "preprocess")
    for other in others:
        spec.pop(other, None)
    reading = _READINGS[kind]
    # The channels of pictures are the network's as well, so that its preprocessing says them.
    known = tuple(name for name in reading.__dataclass_fields__ if kind != IMAGE or name != "channels")
    for key in spec:
        if key not in known:
            raise ConfigError(f"'input' has no key '{key}'{closest(key, known)}; expected {', '.join((*others, *known))}.")
    try:
        read: AnyReading = reading(**spec)
    except ImageError as error:
        raise ConfigError(f"'input': {error}") from error
    return read.over(reading_of(loaded)) if isinstance(read, Reading) else read


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
