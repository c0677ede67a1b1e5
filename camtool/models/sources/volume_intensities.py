"""Intensities: a scan's values as a network takes them: scaled from a window, normalised by numbers or by the scan's own statistics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from camtool.errors import ConfigError, ImageError
from camtool.io.volumes import Volume

VOLUME, NONZERO = "volume", "nonzero"
"""Whose mean and deviation: of all voxels of the scan, or of those that are not zero; zero then stays zero."""


@dataclass(frozen=True)
class Intensities:
    """How values become those that the network takes. Statistics are those of the whole scan, before it is resampled.

    Raises:
        ConfigError: from `of`, if a key's value is invalid.

    Example:
        >>> from camtool.io.volumes import Volume
        >>> scan = Volume(np.array([[[-1000, 0, 1000]]]), None, "ct")
        >>> Intensities.of({"window": (-500, 500)}, channels=1).scaled(scan).tolist()
        [[[0.0, 0.5, 1.0]]]
    """

    fill: float | None
    """Value in place of voxels that are not finite; None: they are refused."""
    window: tuple[float, float] | None
    """Values that become 0 and 1; those outside are clipped."""
    percentiles: tuple[float, float] | None
    """The same, as percentiles of the scan."""
    statistics: str
    """VOLUME, NONZERO, or "" for numbers."""
    mean: tuple[float, ...]
    """By channel, taken from the scaled values."""
    std: tuple[float, ...]
    """By channel."""

    @classmethod
    def of(cls, spec: Mapping[str, Any], channels: int) -> "Intensities":
        """Return the intensities that the keys `fill`, `window`, `percentiles`, `mean` and `std` describe."""
        window, percentiles = _pair(spec, "window"), _pair(spec, "percentiles")
        if window and percentiles:
            raise ConfigError("'preprocess' has both window and percentiles; expected one of them.")
        if percentiles and not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ConfigError(f"'preprocess.percentiles' must lie between 0 and 100, got {spec['percentiles']!r}.")
        statistics = _statistics(spec)
        mean, std = (
            ((0.0,) * channels, (1.0,) * channels)
            if statistics
            else (_numbers(spec, "mean", 0.0, channels), _numbers(spec, "std", 1.0, channels))
        )
        if min(std) <= 0:
            raise ConfigError(f"'preprocess.std' must be above 0, got {spec['std']!r}.")
        return cls(number(spec, "fill"), window, percentiles, statistics, mean, std)

    def scaled(self, volume: Volume) -> Float[np.ndarray, "x y z"]:
        """Return the scan's values, filled, scaled and normalised by its own statistics, in an array of its own.

        Raises:
            ImageError: if voxels are not numbers or not finite and no `fill` is given, or the scan has no contrast to scale by.
        """
        values = self._finite(volume)
        if low_high := self.window or self._of_percentiles(values, volume.name):
            low, high = low_high
            values -= np.float32(low)
            values /= np.float32(high - low)
            np.clip(values, 0, 1, out=values)
        return self._normalised(values, volume.name) if self.statistics else values

    def _finite(self, volume: Volume) -> Float[np.ndarray, "x y z"]:
        if volume.values.dtype.kind not in "biuf":
            raise ImageError(f"Expected a scan of real numbers, got values of {volume.values.dtype} from '{volume.name}'.")
        with np.errstate(over="ignore"):  # numbers beyond float32 are infinite in it, and counted
            values = volume.values.astype(np.float32)
        bad = ~np.isfinite(values)
        if count := int(bad.sum()):
            if self.fill is None:
                raise ImageError(
                    f"'{volume.name}' has {count} voxels of {values.size} that are NaN or infinite; set preprocess.fill to the value that "
                    "is to stand in their place, such as fill=0."
                )
            values[bad] = self.fill
        return values

    def _of_percentiles(self, values: np.ndarray, name: str) -> tuple[float, float] | None:
        if self.percentiles is None:
            return None
        low, high = (float(value) for value in np.percentile(values, self.percentiles))
        if not low < high:
            first, last = self.percentiles
            raise ImageError(
                f"Percentiles {first:g} and {last:g} of '{name}' are both {low:g}, so there is no contrast to scale; try wider "
                "preprocess.percentiles, or preprocess.window."
            )
        return low, high

    def _normalised(self, values: np.ndarray, name: str) -> Float[np.ndarray, "x y z"]:
        counted = values != 0 if self.statistics == NONZERO else np.ones(values.shape, bool)
        chosen = values[counted]
        mean, std = (float(chosen.mean(dtype=np.float64)), float(chosen.std(dtype=np.float64))) if chosen.size else (0.0, 0.0)
        if not std > 0:
            raise ImageError(
                f"The voxels of '{name}' {'that are not zero ' if self.statistics == NONZERO else ''}are all alike, so there is no "
                "deviation to divide by; give numbers as preprocess.mean and preprocess.std."
            )
        values -= np.float32(mean)
        values /= np.float32(std)
        values[~counted] = 0
        return values


def number(spec: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number, None where the key is missing; ConfigError for anything else."""
    value = spec.get(key)
    if value is None:
        return None
    if not _is_number(value):
        raise ConfigError(f"'preprocess.{key}' must be a number, got {value!r}.")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _pair(spec: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    value = spec.get(key)
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(map(_is_number, value)) or not value[0] < value[1]:
        raise ConfigError(f"'preprocess.{key}' must be (low, high) with low < high, got {value!r}.")
    return float(value[0]), float(value[1])


def _statistics(spec: Mapping[str, Any]) -> str:
    words = [spec[key] for key in ("mean", "std") if isinstance(spec.get(key), str)]
    for word in words:
        if word not in (VOLUME, NONZERO):
            raise ConfigError(f"'preprocess.mean' and 'preprocess.std' must be numbers, '{VOLUME}' or '{NONZERO}', got {word!r}.")
    if words and (len(words) != 2 or words[0] != words[1]):
        raise ConfigError(
            "'preprocess.mean' and 'preprocess.std' must both be numbers or the same word, got "
            f"{spec.get('mean')!r} and {spec.get('std')!r}."
        )
    return words[0] if words else ""


def _numbers(spec: Mapping[str, Any], key: str, default: float, channels: int) -> tuple[float, ...]:
    value = spec.get(key, default)
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(numbers) not in (1, channels) or not all(map(_is_number, numbers)):
        raise ConfigError(
            f"'preprocess.{key}' must be a number, one for each of {channels} channels, '{VOLUME}' or '{NONZERO}', got {value!r}."
        )
    return tuple(map(float, numbers * channels if len(numbers) == 1 else numbers))
