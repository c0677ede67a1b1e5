"""Preprocessing by a PIL transform, or by a dict that describes one."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from camtool.errors import ConfigError, closest
from camtool.io.images import Picture
from camtool.models.sources._base import Preprocess

KEYS = ("resize", "crop", "interpolation", "color", "mean", "std")
"""Keys that a `preprocess` dict may have."""

_COLORS = {"rgb": 3, "bgr": 3, "gray": 1}
_INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode}


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

    Raises:
        ConfigError: if a key is misspelt or a value invalid.

    Example:
        >>> preprocess = described({"resize": 8, "crop": 4, "mean": 0.5, "std": 0.5})
        >>> inputs = preprocess(np.full((10, 20, 3), 255, dtype=np.uint8))
        >>> inputs.shape, inputs.unique()
        (torch.Size([1, 3, 4, 4]), tensor([1.]))
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"'preprocess' must be a dict such as dict(resize=256, crop=224), got {spec!r}.")
    for key in spec:
        if key not in KEYS:
            raise ConfigError(f"'preprocess' has no key '{key}'{closest(key, KEYS)}; expected {', '.join(KEYS)}.")
    resize, crop = _size(spec, "resize"), _size(spec, "crop")
    color = _choice(spec, "color", "rgb", _COLORS)
    mode = _INTERPOLATIONS[_choice(spec, "interpolation", "bilinear", _INTERPOLATIONS)]
    channels = _COLORS[color]
    mean, std = _by_channel(spec, "mean", 0.0, channels), _by_channel(spec, "std", 1.0, channels)
    if 0 in std:
        raise ConfigError(f"'preprocess.std' must not be 0, got {spec['std']!r}.")

    def transform(image: Image.Image) -> Tensor:
        if resize is not None:
            image = F.resize(image, resize, interpolation=mode)
        if crop is not None:
            image = F.center_crop(image, crop)
        if color == "gray":
            image = image.convert("L")
        values = F.to_tensor(image)
        return F.normalize(values.flip(0) if color == "bgr" else values, mean, std)

    return of_pil(transform)


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
