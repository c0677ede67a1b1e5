"""Spectrograms as the input of a network on signals, and what a map over one says of each moment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from camtool.errors import ConfigError, ImageError, closest

KEYS = ("window", "hop", "mels", "power", "log", "normalise")
"""Keys that a `spectrogram` dict may have."""

_FLOOR = 1e-10  # of powers, before their logarithm
_LEAST_SPREAD = 1e-12  # of values; a flat spectrogram becomes zeros


class Spectrogram:
    """Short-time Fourier transform of a signal: rows are frequencies, the lowest first, columns frames.

    The middles of the frames are `hop` samples apart, the first at the first sample; beyond its ends the signal is mirrored, as torch.stft
    and librosa do.

    Args:
        spec: a dict; `window`, the samples of a Hann window and of its transform; `hop`, the samples between two frames, a quarter of
            the window if left out; `mels`, the number of triangular bands on the mel scale (2595 log10(1 + f / 700)) in place of single
            frequencies; `power`, 2 or 1; `log`, whether the natural logarithm is taken (True), of no less than 1e-10; `normalise`,
            whether the mean and the standard deviation of all values are made 0 and 1 (False).

    Raises:
        ConfigError: if a key is misspelt, or a value invalid.

    Example:
        >>> spectrogram = Spectrogram({"window": 64, "hop": 16})
        >>> tone = np.sin(2 * np.pi * np.arange(800) / 8)[None]  # an eighth of the sampling rate
        >>> values = spectrogram(tone, None)
        >>> values.shape, int(values[0, :, 25].argmax())
        ((1, 33, 51), 8)
        >>> over_time = spectrogram.to_time(np.ones((33, 51)), 800)
        >>> over_time.shape, float(over_time.min())
        ((800,), 1.0)
    """

    def __init__(self, spec: Any) -> None:
        if not isinstance(spec, Mapping):
            raise ConfigError(f"'preprocess.spectrogram' must be a dict such as dict(window=256, hop=64, mels=64), got {spec!r}.")
        for key in spec:
            if key not in KEYS:
                raise ConfigError(f"'preprocess.spectrogram' has no key '{key}'{closest(str(key), KEYS)}; expected {', '.join(KEYS)}.")
        if "window" not in spec:
            raise ConfigError("'preprocess.spectrogram' needs window, its number of samples, such as dict(window=256).")
        self.window = _count(spec, "window", 0, least=4)
        self.hop = _count(spec, "hop", max(self.window // 4, 1))
        self.mels = None if spec.get("mels") is None else _count(spec, "mels", 0)
        self.power = spec.get("power", 2)
        if type(self.power) is not int or self.power not in (1, 2):
            raise ConfigError(f"'preprocess.spectrogram.power' must be 1 or 2, got {self.power!r}.")
        self._log, self._normalise = _flag(spec, "log", default=True), _flag(spec, "normalise", default=False)

    @property
    def rows(self) -> int:
        """Number of frequencies or bands."""
        return self.window // 2 + 1 if self.mels is None else self.mels

    def frames(self, length: int) -> int:
        """Return the number of frames of a signal of `length` samples."""
        return length // self.hop + 1

    def __call__(self, values: Float[np.ndarray, "channels t"], rate: float | None) -> Float[np.ndarray, "channels rows frames"]:
        """Return the spectrogram of each channel of a signal.

        Args:
            rate: samples a second, of which mel bands depend.

        Raises:
            ImageError: if the signal is not longer than half a window, or has no rate and mel bands are asked for.
        """
        if values.shape[1] <= self.window // 2:
            raise ImageError(
                f"The network's input has {values.shape[1]} samples; expected more than half the spectrogram's window of {self.window}: "
                "take a longer record, or a smaller preprocess.spectrogram.window."
            )
        signal = torch.from_numpy(np.ascontiguousarray(values, np.float64))
        hann = torch.hann_window(self.window, dtype=torch.float64, device="cpu")
        powers = torch.stft(signal, self.window, self.hop, window=hann, center=True, return_complex=True).abs().numpy() ** self.power
        if self.mels is not None:
            powers = self._bands(rate) @ powers
        found = np.log(np.maximum(powers, _FLOOR)) if self._log else powers
        return (found - found.mean()) / max(float(found.std()), _LEAST_SPREAD) if self._normalise else found

    def _bands(self, rate: float | None) -> np.ndarray:
        """Return (mels, frequencies): triangles between neighbouring points of the mel scale, 1 at their tips."""
        if rate is None:
            raise ImageError("Bands of the mel scale need the signal's sampling rate; give it by --sampling-rate HZ.")
        assert self.mels is not None
        frequencies = np.linspace(0, rate / 2, self.window // 2 + 1)
        ends = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), self.mels + 2) / 2595) - 1)
        rising = (frequencies - ends[:-2, None]) / (ends[1:-1] - ends[:-2])[:, None]
        falling = (ends[2:, None] - frequencies) / (ends[2:] - ends[1:-1])[:, None]
        return np.maximum(np.minimum(rising, falling), 0)

    def to_time(self, saliency: Float[np.ndarray, "... rows frames"], length: int) -> Float[np.ndarray, "... t"]:
        """Return the mean over the frequencies of a map over the spectrogram, at each sample of the signal: linearly between the frames.

        Raises:
            ConfigError: if the map is not over the spectrogram of so many samples.
        """
        if saliency.shape[-2:] != (self.rows, self.frames(length)):
            raise ConfigError(
                f"Expected a map over a spectrogram of {self.rows} frequencies and {self.frames(length)} frames, got one of shape "
                f"{saliency.shape}."
            )
        over_frames = saliency.astype(np.float64).mean(axis=-2)
        places = np.arange(self.frames(length)) * self.hop
        flat = [np.interp(np.arange(length), places, row) for row in over_frames.reshape(-1, len(places))]
        return np.stack(flat).reshape(*over_frames.shape[:-1], length)

    def seen(self, values: Float[np.ndarray, " t"]) -> Float[np.ndarray, "rows frames"]:
        """Return values at the samples of a signal at those in the middle of each frame, at every frequency."""
        places = np.minimum(np.arange(self.frames(len(values))) * self.hop, len(values) - 1)
        return np.broadcast_to(values[places], (self.rows, len(places)))


def _count(spec: Mapping[str, Any], key: str, default: int, *, least: int = 1) -> int:
    value = spec.get(key, default)
    if type(value) is not int or value < least:
        raise ConfigError(f"'preprocess.spectrogram.{key}' must be a whole number from {least}, got {value!r}.")
    return value


def _flag(spec: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = spec.get(key, default)
    if type(value) is not bool:
        raise ConfigError(f"'preprocess.spectrogram.{key}' must be True or False, got {value!r}.")
    return value
