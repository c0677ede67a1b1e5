"""Preprocessing by a PIL transform, or by a dict that describes one.

torchvision is imported where a dict is read: with its operators and torch's compiler behind them it takes a second, which networks with a
pipeline of their own do not need.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camtool.config.loading import LoadedConfig
from camtool.errors import ConfigError, ImageError, closest
from camtool.io.bands import Bands
from camtool.io.images import Picture
from camtool.io.pillow import Reading
from camtool.models.sources._base import Preprocess

KEYS = ("resize", "crop", "interpolation", "color", "mean", "std", "channels", "rgb", "value_range", "frame")
"""Keys that a `preprocess` dict may have."""

_COLORS = {"rgb": 3, "bgr": 3, "gray": 1}


def of_pil(transform: Callable[[Image.Image], Any]) -> Preprocess:
    """Return the preprocessing for a transform from a PIL image to a tensor (c, h, w) or (1, c, h, w).

    Calling it raises ConfigError if the transform fails or gives something else.
    """

    def preprocess(picture: Picture) -> Tensor:
        try:
            tensor = transform(Image.fromarray(picture))
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            raise ConfigError(f"The preprocessing fails on this image: {type(error).__name__}: {text}") from error
        if isinstance(tensor, Tensor) and tensor.ndim == 4 and len(tensor) == 1:
            tensor = tensor[0]
        if not isinstance(tensor, Tensor) or tensor.ndim != 3 or not tensor.is_floating_point():
            actual = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else f"a {type(tensor).__name__}"
            raise ConfigError(f"The preprocessing must give a floating-point tensor (c, h, w), got {actual}.")
        return tensor.unsqueeze(0).contiguous().to(torch.float32)

    return preprocess


def described(spec: Any) -> Preprocess:
    """Return the preprocessing that a dict describes; all keys are optional.

    `resize` (short edge, or (height, width)), then `crop` from the centre (side, or (height, width)); `interpolation` as
    torchvision names it; `color` is rgb, bgr or gray; then (value in [0, 1] - `mean`) / `std`, a number, or one for each channel.
    `channels` makes it a BandPreprocess, whose `rgb` are the channels to be looked at; `reading_of` reads `value_range` and `frame`.

    Raises:
        ConfigError: if a key is misspelt or a value invalid.

    Example:
        >>> preprocess = described({"resize": 8, "crop": 4, "mean": 0.5, "std": 0.5})
        >>> inputs = preprocess(np.full((10, 20, 3), 255, dtype=np.uint8))
        >>> inputs.shape, inputs.unique()
        (torch.Size([1, 3, 4, 4]), tensor([1.]))
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    if not isinstance(spec, Mapping):
        raise ConfigError(f"'preprocess' must be a dict such as dict(resize=256, crop=224), got {spec!r}.")
    for key in spec:
        if key not in KEYS:
            raise ConfigError(f"'preprocess' has no key '{key}'{closest(key, KEYS)}; expected {', '.join(KEYS)}.")
    resize, crop = _size(spec, "resize"), _size(spec, "crop")
    color = _choice(spec, "color", "rgb", _COLORS)
    modes = {mode.value: mode for mode in InterpolationMode}
    mode = modes[_choice(spec, "interpolation", "bilinear", modes)]
    bands = _reading(spec).channels
    channels = len(bands) if bands else _COLORS[color]
    mean, std = _by_channel(spec, "mean", 0.0, channels), _by_channel(spec, "std", 1.0, channels)
    if 0 in std:
        raise ConfigError(f"'preprocess.std' must not be 0, got {spec['std']!r}.")

    def placed(image: Image.Image) -> Image.Image:
        if resize is not None:
            image = F.resize(image, resize, interpolation=mode)
        return image if crop is None else F.center_crop(image, crop)

    def transform(image: Image.Image) -> Tensor:
        image = placed(image)
        values = F.to_tensor(image.convert("L") if color == "gray" else image)
        return F.normalize(values.flip(0) if color == "bgr" else values, mean, std)

    if bands is None:
        if "rgb" in spec:
            raise ConfigError("'preprocess.rgb' says which channels are looked at; expected it beside 'preprocess.channels'.")
        return of_pil(transform)
    if "color" in spec:
        raise ConfigError("'preprocess' has both color and channels; expected one of them.")
    return BandPreprocess(channels, placed, mean, std, _shown(spec, channels))


class BandPreprocess:
    """Preprocessing of pictures of any number of bands: resize and crop, then (value - mean) / std.

    Args:
        channels: number of bands that the network takes.
        placed: resizes and crops a PIL image of any mode.
        mean: of each band.
        std: of each band.
        shown: the bands that are looked at: three, as red, green and blue, or one.
    """

    def __init__(
        self, channels: int, placed: Callable[[Image.Image], Image.Image], mean: Sequence[float], std: Sequence[float], shown: Sequence[int]
    ) -> None:
        self.channels = channels
        from torchvision.transforms import functional as F

        self._placed, self._mean, self._std = placed, mean, std
        self.shown = shown
        self.of_picture = of_pil(lambda image: F.to_tensor(placed(image)))
        """The same resizing and cropping of an RGB picture, to [0, 1]: what maps are drawn on."""

    @property
    def blank(self) -> Bands:
        """A picture of zeros."""
        return np.zeros((256, 256, self.channels), np.float32)

    def __call__(self, bands: Bands | Picture) -> Tensor:
        """Return the input (1, c, h, w) for a picture (h, w, c); ImageError for one of another number of bands."""
        from torchvision.transforms import functional as F

        if bands.shape[2] != self.channels or bands.dtype != np.float32:
            raise ImageError(
                f"Expected a picture of {self.channels} bands, as the config's preprocess.channels says, got one of {bands.shape[2]}. Give "
                "its file, or an array (h, w, bands)."
            )
        placed = [self._placed(Image.fromarray(np.ascontiguousarray(band))) for band in bands.transpose(2, 0, 1)]
        return F.normalize(torch.from_numpy(np.stack([np.asarray(band, np.float32) for band in placed])), self._mean, self._std)[None]


def reading_of(loaded: LoadedConfig) -> Reading:
    """Return how a config's `model.preprocess` says that files are read: its `channels`, `value_range` and `frame`.

    Raises:
        ConfigError: if one of them is invalid.
    """
    spec = loaded.config.model.get("preprocess")
    return _reading(spec) if isinstance(spec, Mapping) else Reading()


def _reading(spec: Mapping[str, Any]) -> Reading:
    channels, value_range = spec.get("channels"), spec.get("value_range")
    if channels is not None and (not isinstance(channels, (list, tuple)) or not channels):
        raise ConfigError(f"'preprocess.channels' must be a list of bands, by number from 0 or by file name, got {channels!r}.")
    if value_range is not None and not (
        isinstance(value_range, (list, tuple)) and len(value_range) == 2 and all(type(value) in (int, float) for value in value_range)
    ):
        raise ConfigError(f"'preprocess.value_range' must be (lowest, highest), got {value_range!r}.")
    try:
        return Reading(
            value_range=None if value_range is None else (float(value_range[0]), float(value_range[1])),
            channels=None if channels is None else tuple(channels),
            frame=spec.get("frame"),
        )
    except ImageError as error:
        raise ConfigError(f"'preprocess': {error}") from error


def _shown(spec: Mapping[str, Any], channels: int) -> list[int]:
    shown = spec.get("rgb", [0, 1, 2] if channels >= 3 else [0])
    valid = isinstance(shown, (list, tuple)) and len(shown) in (1, 3) and all(type(c) is int and 0 <= c < channels for c in shown)
    if not valid:
        raise ConfigError(f"'preprocess.rgb' must be three positions in 'channels', 0 to {channels - 1}, or one, got {shown!r}.")
    return list(shown)


def _size(spec: Mapping[str, Any], key: str) -> list[int] | None:
    value = spec.get(key)
    if value is None:
        return None
    sides = [value] if isinstance(value, int) else value
    if not isinstance(sides, (list, tuple)) or len(sides) not in (1, 2) or not all(type(side) is int and side > 0 for side in sides):
        raise ConfigError(f"'preprocess.{key}' must be a number of pixels or (height, width), got {value!r}.")
    return list(sides)


def _choice(spec: Mapping[str, Any], key: str, default: str, choices: Mapping[str, Any]) -> str:
    value = spec.get(key, default)
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"'preprocess.{key}' must be one of {', '.join(choices)}, got {value!r}.")
    return str(value)


def _by_channel(spec: Mapping[str, Any], key: str, default: float, channels: int) -> list[float]:
    value = spec.get(key, default)
    numbers = np.atleast_1d(np.asarray(value, dtype=object))
    if len(numbers) not in (1, channels) or not all(isinstance(number, (int, float)) for number in numbers):
        raise ConfigError(f"'preprocess.{key}' must be one number, or one for each of {channels} channels, got {value!r}.")
    return [float(number) for number in np.broadcast_to(numbers, (channels,))]
