"""Preprocessing of signals that a dict describes, and its inverse: a map over the network's input on the signal's samples."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import ConfigError, ImageError, closest, some
from camtool.io.signals import Signal
from camtool.models.sources.spectrogram import Spectrogram

KEYS = ("rate", "length", "align", "channels", "normalise", "mean", "std", "shape", "spectrogram")
"""Keys that a signal's `preprocess` dict may have."""

_ALIGN = ("start", "centre")
_NORMALISE = ("zscore", "minmax", "channel", "rank")
_SHAPES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "ct": lambda values: values[None],
    "ct1": lambda values: values[None, :, :, None],
    "1ct": lambda values: values[None, None],
}
_MOST_DENOMINATOR = 10_000  # of the ratio of two rates; the error is below 1e-8
_LEAST_SPREAD = 1e-12  # of values; a flat signal becomes zeros


class SignalPreprocess:
    """Preprocessing of signals: channels, resampling, length, normalisation, axes.

    Args:
        spec: all keys are optional; an empty dict feeds values as they lie. `channels`, by name or number from 0; `rate` in Hz, to which is
            resampled without aliases; `length` in samples, to which is cropped or padded with zeros, at the end (`align="start"`) or at
            both ends (`align="centre"`); then `normalise`: "zscore" or "minmax" of all values, "channel", z-scores of each channel, or
            "rank", each channel's ranks from -1 to 1, of what is left of the signal, before padding; or (value - `mean`) / `std`, one
            number or one for each channel. `shape`: "ct" for
            Conv1d, (1, c, t); "ct1" for kernels (k, 1), (1, c, t, 1); "1ct" for networks that take channels for rows, (1, 1, c, t).
            `spectrogram`, a dict as of `Spectrogram`, in place of a shape: that of each channel at last, (1, c, frequencies, frames).

    Raises:
        ConfigError: if a key is misspelt or a value invalid.

    Example:
        >>> preprocess = SignalPreprocess({"rate": 50, "length": 120, "normalise": "zscore"})
        >>> signal = Signal(np.sin(np.arange(400, dtype=np.float32))[None], 200.0, ("II",))
        >>> preprocess(signal).shape
        torch.Size([1, 1, 120])
        >>> on_signal = preprocess.to_signal(np.arange(120.0), signal)
        >>> on_signal.shape, on_signal[200]
        ((400,), np.float64(50.0))
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        if not isinstance(spec, Mapping):
            raise ConfigError(f"'preprocess' must be a dict such as dict(rate=100, normalise='zscore'), got {spec!r}.")
        for key in spec:
            if key not in KEYS:
                raise ConfigError(f"'preprocess' of signals has no key '{key}'{closest(str(key), KEYS)}; expected {', '.join(KEYS)}.")
        self.spec = dict(spec)
        """The description."""
        self.rate = _positive(spec, "rate", (int, float), "samples a second")
        self.length = _positive(spec, "length", (int,), "a number of samples")
        self.align = _choice(spec, "align", "start", _ALIGN)
        self.normalise = _choice(spec, "normalise", None, _NORMALISE)
        self.shape = _choice(spec, "shape", "ct", tuple(_SHAPES))
        self.channels = _channels(spec)
        self.spectrogram = None if spec.get("spectrogram") is None else Spectrogram(spec["spectrogram"])
        if self.spectrogram is not None and "shape" in spec:
            raise ConfigError("'preprocess' has both shape and spectrogram, which is (1, channels, frequencies, frames); leave out shape.")
        self._mean, self._std = _numbers(spec, "mean", 0.0), _numbers(spec, "std", 1.0)
        if self.normalise and ("mean" in spec or "std" in spec):
            raise ConfigError("'preprocess' has both normalise and mean or std; expected one of them.")
        if "align" in spec and self.length is None:
            raise ConfigError("'preprocess.align' says where a length is cropped or padded; expected it beside 'preprocess.length'.")
        if (self._std == 0).any():
            raise ConfigError(f"'preprocess.std' must not be 0, got {spec['std']!r}.")

    def __call__(self, signal: Signal) -> Float[Tensor, "1 ..."]:
        """Return the network's input for a signal, on the CPU in float32.

        Raises:
            ImageError: if it lacks a channel, or has no sampling rate and one is needed.
            ConfigError: if `mean` or `std` are of another number of channels.
        """
        chosen = self.chosen(signal)
        values = self._resampled(chosen)
        offset, length = self._placed(values.shape[1])
        cropped = values[:, max(offset, 0) : max(offset, 0) + length]
        before = max(-offset, 0)
        padded = np.zeros((len(values), length), np.float64)
        padded[:, before : before + cropped.shape[1]] = self._normalised(cropped)
        if self.spectrogram is not None:
            made = self.spectrogram(padded, float(self.rate) if self.rate else signal.rate)
            return torch.from_numpy(made.astype(np.float32))[None]
        return _SHAPES[self.shape](torch.from_numpy(padded.astype(np.float32)))

    def chosen(self, signal: Signal) -> Signal:
        """Return the signal of the network's channels alone, in its order; ImageError if it lacks one."""
        if self.channels is None:
            return signal
        numbers = [_number(signal, channel) for channel in self.channels]
        return Signal(
            signal.values[numbers],
            signal.rate,
            tuple(signal.names[number] for number in numbers),
            signal.start,
            signal.name,
            tuple(signal.units[number] for number in numbers) if signal.units else (),
            signal.kind,
        )

    def to_signal(self, saliency: Float[np.ndarray, "..."], signal: Signal) -> Float[np.ndarray, "..."]:
        """Return a map over the network's input (t',), or (channels, t'), on the samples of the signal (t,): NaN outside of the input.

        Of a spectrogram, (frequencies, frames) or (channels, frequencies, frames), the mean over the frequencies.

        A sample has the map's value at its time, linearly between the network's samples; where these lie closer than the signal's, the mean
        of those around it, weighted by a triangle, so that none is passed over.

        Args:
            saliency: its last axis is time, of the network's input; with `shape="ct1"` an axis of size 1 may follow.
            signal: that the input was made of.

        Raises:
            ConfigError: if the map is not as long as the network's input.
        """
        if self.shape == "ct1" and saliency.ndim > 1 and saliency.shape[-1] == 1:
            saliency = saliency[..., 0]
        ratio = self._ratio(signal)
        offset, length = self._placed(-(-signal.length * ratio.numerator // ratio.denominator))
        if self.spectrogram is not None:
            saliency = self.spectrogram.to_time(saliency, length)
        if saliency.shape[-1:] != (length,):
            raise ConfigError(f"Expected a map over the {length} samples of the network's input, got one of shape {saliency.shape}.")
        places = np.arange(signal.length) * float(ratio) - offset  # of the signal's samples on those of the input
        return _sampled(saliency.astype(np.float64), places, max(float(ratio), 1.0))

    def seen(self, values: Float[np.ndarray, " t"], signal: Signal) -> Float[np.ndarray, "..."]:
        """Return values (t,) at the signal's samples at those of the network's input, as `to_signal` goes back; NaN in padding.

        (t',) of the input's time; of a spectrogram (frequencies, frames).
        """
        ratio = self._ratio(signal)
        offset, length = self._placed(-(-signal.length * ratio.numerator // ratio.denominator))
        on_input = _sampled(values.astype(np.float64), (np.arange(length) + offset) / float(ratio), max(1 / float(ratio), 1.0))
        return on_input if self.spectrogram is None else self.spectrogram.seen(on_input)

    def frame_times(self, signal: Signal, frames: int) -> Float[np.ndarray, "frames 2"]:
        """Return the time at which each frame begins and ends, in seconds on the axis of the record (in samples without a rate).

        Frames divide the network's input evenly, as cells of a layer do; each sample is the middle of its own short time.

        Example:
            >>> signal = Signal(np.zeros((1, 800), np.float32), 200.0, ("II",), start=10.0)
            >>> SignalPreprocess({"rate": 100}).frame_times(signal, 4).round(3).tolist()
            [[9.995, 10.995], [10.995, 11.995], [11.995, 12.995], [12.995, 13.995]]
        """
        ratio = self._ratio(signal)
        offset, length = self._placed(-(-signal.length * ratio.numerator // ratio.denominator))
        edges = (np.arange(frames + 1) * length / frames - 0.5 + offset) / float(ratio)  # on the signal's samples
        times = signal.start + edges / (signal.rate or 1.0)
        return np.stack([times[:-1], times[1:]], axis=1)

    def _ratio(self, signal: Signal) -> Fraction:
        """Return how many of the network's samples there are for one of the signal."""
        if self.rate is None:
            return Fraction(1)
        if signal.rate is None:
            raise ImageError(
                f"Signal '{signal.name}' says nothing of its sampling rate, and preprocess.rate resamples to {self.rate:g} Hz; give it by "
                "--sampling-rate HZ."
            )
        ratio = Fraction(self.rate / signal.rate).limit_denominator(_MOST_DENOMINATOR)
        if not ratio:
            raise ImageError(f"Signal '{signal.name}' at {signal.rate:g} Hz cannot be resampled to {self.rate:g} Hz.")
        return ratio

    def _resampled(self, signal: Signal) -> np.ndarray:
        ratio = self._ratio(signal)
        values = signal.values.astype(np.float64)
        if ratio == 1:
            return values
        from scipy.signal import resample_poly

        # Beyond the ends a straight line goes on: zeros would ring there in a signal with an offset.
        return np.asarray(resample_poly(values, ratio.numerator, ratio.denominator, axis=1, padtype="line"))

    def _placed(self, available: int) -> tuple[int, int]:
        """Return (offset, length): the resampled signal's sample that the input begins with, negative in padding, and its length."""
        if self.length is None:
            return 0, available
        length = int(self.length)
        return ((available - length) // 2 if self.align == "centre" else 0), length

    def _normalised(self, values: np.ndarray) -> np.ndarray:
        if self.normalise == "rank":
            return _ranks(values)
        axes = 1 if self.normalise == "channel" else None
        if self.normalise in ("zscore", "channel"):
            return (values - values.mean(axes, keepdims=True)) / np.maximum(values.std(axes, keepdims=True), _LEAST_SPREAD)
        if self.normalise == "minmax":
            return (values - values.min()) / max(values.max() - values.min(), _LEAST_SPREAD)
        for key, numbers in (("mean", self._mean), ("std", self._std)):
            if len(numbers) not in (1, len(values)):
                raise ConfigError(
                    f"'preprocess.{key}' has {len(numbers)} numbers, the signal {len(values)} channels; expected one or as many."
                )
        return (values - self._mean[:, None]) / self._std[:, None]


def _sampled(values: np.ndarray, places: np.ndarray, width: float) -> np.ndarray:
    """Return values (…, t') at places (t,), weighted by a triangle that ends `width` to both sides; NaN more than half a sample outside."""
    length = values.shape[-1]
    total, weights = np.zeros((*values.shape[:-1], len(places))), np.zeros(len(places))
    inside = np.clip(places, 0, length - 1)
    nearest = np.floor(inside).astype(int)
    reach = int(np.ceil(width))
    for step in range(-reach, reach + 1):
        index = nearest + step
        weight = np.maximum(1 - np.abs(index - inside) / width, 0) * ((index >= 0) & (index < length))
        taken = values[..., np.clip(index, 0, length - 1)]
        total += np.where(weight > 0, taken * weight, 0)  # NaN that has no weight does not spread
        weights += weight
    sampled = total / weights
    sampled[..., (places < -0.5) | (places > length - 0.5)] = np.nan
    return sampled


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the values (channels, t) of each channel by their ranks, evenly from -1 to 1; equal ones share the mean of theirs."""
    from scipy.stats import rankdata

    return (rankdata(values, axis=1) - 1) / max(values.shape[1] - 1, 1) * 2 - 1


def _number(signal: Signal, channel: int | str) -> int:
    names = signal.names
    if isinstance(channel, int) and channel < len(names):
        return channel
    alike = [k for k, name in enumerate(names) if isinstance(channel, str) and name.casefold() == channel.casefold()]
    if len(alike) != 1:
        has = f"has {len(alike)} channels" if alike else "has no channel"
        near = closest(channel, names) if isinstance(channel, str) and not alike else ""
        raise ImageError(f"Signal '{signal.name}' {has} '{channel}', which preprocess.channels names{near}; it has {some(names, 12)}.")
    return alike[0]


def _positive(spec: Mapping[str, Any], key: str, kinds: tuple[type, ...], what: str) -> Any:
    value = spec.get(key)
    if value is not None and not (type(value) in kinds and 0 < value < float("inf")):
        raise ConfigError(f"'preprocess.{key}' must be {what}, above 0, got {value!r}.")
    return value


def _choice(spec: Mapping[str, Any], key: str, default: Any, choices: tuple[str, ...]) -> Any:
    value = spec.get(key, default)
    if value is not None and value not in choices:
        near = closest(value, choices) if isinstance(value, str) else ""
        raise ConfigError(f"'preprocess.{key}' must be one of {', '.join(choices)}, got {value!r}{near}.")
    return value


def _channels(spec: Mapping[str, Any]) -> tuple[int | str, ...] | None:
    channels = spec.get("channels")
    if channels is None:
        return None
    valid = isinstance(channels, (list, tuple)) and channels and all(isinstance(c, str) or (type(c) is int and c >= 0) for c in channels)
    if not valid:
        raise ConfigError(f"'preprocess.channels' must be a list of channels, by number from 0 or by name, got {channels!r}.")
    return tuple(channels)


def _numbers(spec: Mapping[str, Any], key: str, default: float) -> np.ndarray:
    value = spec.get(key, default)
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    if not numbers or not all(type(number) in (int, float) and np.isfinite(number) for number in numbers):
        raise ConfigError(f"'preprocess.{key}' must be one number, or one for each channel, got {value!r}.")
    return np.array(numbers, np.float64)
