"""Invert preprocessing: the image that a network's input shows, and its position on the original image.

Preprocessing is treated as a black box: test images are sent through it, and values and positions are inferred from the results.
So it works for every pipeline, whatever library its steps are from.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from camtool.errors import ImageError
from camtool.io.images import Picture

_PROBE_COLOURS = (51, 102, 204)  # red, green, blue of the test image for the channel order
_LEAN = 8  # levels by which a ramp rises across its direction
_MOST_RESIDUAL = 2.0  # grey levels; resizing with rounding leaves less than one


def seen_picture(inputs: Float[Tensor, "1 c h w"], preprocess: Callable[[Picture], Tensor]) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image that `inputs` shows, in RGB: the values before normalisation, rounded to whole levels.

    Example:
        >>> import torch
        >>> def preprocess(picture):
        ...     return torch.from_numpy(picture / 127.5 - 1).permute(2, 0, 1)[None].float()
        >>> picture = np.full((8, 8, 3), (200, 100, 50), dtype=np.uint8)
        >>> seen_picture(preprocess(picture), preprocess)[0, 0].tolist()
        [200, 100, 50]
    """
    low, high = (_levels(preprocess, (value,) * 3) for value in (0, 255))
    levels = 255 * (inputs[0].double().cpu().numpy() - low[:, None, None]) / (high - low)[:, None, None]
    levels = np.repeat(levels, 3, axis=0) if len(levels) == 1 else levels[channel_order(preprocess)]
    return np.ascontiguousarray(levels.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def channel_order(preprocess: Callable[[Picture], Tensor]) -> list[int]:
    """Return the indices of the input channels for red, green and blue; [0] for a network with one channel."""
    low, high, probed = (_levels(preprocess, colour) for colour in ((0, 0, 0), (255, 255, 255), _PROBE_COLOURS))
    if len(low) == 1:
        return [0]
    levels = 255 * (probed - low) / (high - low)
    return [int(np.abs(levels - colour).argmin()) for colour in _PROBE_COLOURS]


def _levels(preprocess: Callable[[Picture], Tensor], colour: tuple[int, ...]) -> Float[np.ndarray, " c"]:
    plain = np.full((256, 256, 3), colour, dtype=np.uint8)
    inputs = preprocess(plain)
    return inputs[0, :, inputs.shape[2] // 2, inputs.shape[3] // 2].double().cpu().numpy()


@dataclass(frozen=True)
class Geometry:
    """Affine map from pixel centres of the network's input to those of the original image: original = matrix @ (x, y, 1)."""

    matrix: Float[np.ndarray, "2 3"]
    seen_size: tuple[int, int]
    """(height, width) of the network's input."""
    original_size: tuple[int, int]
    """(height, width) of the original image."""

    def to_original(self, maps: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "H W"]:
        """Return a map over the network's input, resampled onto the original image; NaN outside the input."""
        size = self.original_size[::-1]
        warped = cv2.warpAffine(maps.astype(np.float32), self.matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpAffine(np.ones(maps.shape, np.uint8), self.matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        warped[inside == 0] = np.nan
        return warped

    def seen_part(self, picture: Picture, outside: int = 128) -> UInt8[np.ndarray, "h2 w2 3"]:
        """Return the part of a picture of `original_size` that the network's input shows, at the input's size.

        Args:
            outside: level of what of the input shows nothing of the picture.

        Example:
            >>> middle = Geometry(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]]), (2, 2), (4, 6))
            >>> middle.seen_part(np.arange(72, dtype=np.uint8).reshape(4, 6, 3))[..., 0].tolist()
            [[24, 27], [42, 45]]
        """
        matrix = self.matrix.astype(np.float64)
        steps = np.hypot(*matrix[:, :2])  # pixels of the picture for one of the input, along x and y
        if (factor := float(steps.min())) > 1:  # reduced by areas first: sampling a large picture at single points is noise
            size = tuple(max(round(length / factor), 1) for length in picture.shape[1::-1])
            ratios = np.array([new / old for new, old in zip(size, picture.shape[1::-1], strict=True)])
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            matrix = matrix * ratios[:, None]
            matrix[:, 2] += (ratios - 1) / 2  # the centre of the first pixel is 0
        flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (outside,) * 3
        return cv2.warpAffine(picture, matrix, self.seen_size[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=border)


def stretched(seen_size: tuple[int, int], original_size: tuple[int, int]) -> Geometry:
    """Return the geometry of an input that shows a whole picture, resized with no regard to its proportions.

    Example:
        >>> stretched((2, 2), (4, 8)).matrix.tolist()
        [[4.0, 0.0, 1.5], [0.0, 2.0, 0.5]]
    """
    down, across = (original / seen for original, seen in zip(original_size, seen_size, strict=True))
    matrix = np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2]])
    return Geometry(matrix, seen_size, original_size)


def measure_geometry(picture: Picture, preprocess: Callable[[Picture], Tensor]) -> Geometry:
    """Return the position of the network's input on `picture`, measured by two ramps of its size sent through the preprocessing.

    A side of one pixel, as of a signal in a picture, has no ramp: the input shows all of it.

    Raises:
        ImageError: if the preprocessing is more than resizing, cropping, flipping and rotating, so that it cannot be inverted.
    """
    height, width = picture.shape[:2]
    if min(height, width) == 1:
        return _measured_along(picture, preprocess)
    across, down = (np.linspace(0, 1, length, dtype=np.float32) for length in (width, height))
    # Each ramp is slightly oblique, so that rounding to whole levels differs from row to row and averages out.
    mixing = np.array([[255 - _LEAN, _LEAN], [_LEAN, 255 - _LEAN]])
    ramps = np.stack([_preprocessed_ramp(a * across[None, :] + b * down[:, None], preprocess) for a, b in mixing])
    # Resampling bends a ramp within two pixels of its ends; the rest is exactly linear.
    inner = np.all([_is_inner(level, length) for level, length in zip(ramps, (width, height), strict=True)], axis=0)
    solution = _planes(ramps, inner)
    matrix = np.array([[width - 1], [height - 1]]) * np.linalg.solve(mixing, solution.T)
    return Geometry(matrix, (ramps.shape[1], ramps.shape[2]), (height, width))


def _measured_along(picture: Picture, preprocess: Callable[[Picture], Tensor]) -> Geometry:
    """Return the geometry of a picture of which one side, or both, are one pixel long."""
    height, width = picture.shape[:2]
    longer = int(height > 1)  # 0: x, 1: y
    length = max(height, width)
    ramp = np.linspace(0, 255, length, dtype=np.float32).reshape(height, width)
    level = _preprocessed_ramp(ramp, preprocess)
    matrix = stretched((level.shape[0], level.shape[1]), (height, width)).matrix
    if length > 1:
        (solution,) = _planes(level[None], _is_inner(level, length)).T
        matrix[longer] = (length - 1) / 255 * solution
    return Geometry(matrix, (level.shape[0], level.shape[1]), (height, width))


def _is_inner(level: Float[np.ndarray, "h w"], length: int) -> Bool[np.ndarray, "h w"]:
    """Return where a ramp over so many pixels is linear: resampling bends it within two pixels of its ends."""
    margin = min(max(2.5 * 255 / (length - 1), 8), 100)
    return (level > margin) & (level < 255 - margin)


def _planes(ramps: Float[np.ndarray, "k h w"], inner: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "3 k"]:
    """Return the planes (x, y, 1) through ramps where they are linear; ImageError if they are none."""
    if inner.sum() < 16:
        raise ImageError("The preprocessing keeps too little of the image to draw on the original; run without --original.")
    y, x = np.nonzero(inner)
    design = np.stack([x, y, np.ones(len(x))], axis=1)
    solution, *_ = np.linalg.lstsq(design, ramps[:, inner].T, rcond=None)
    if np.quantile(np.abs(design @ solution - ramps[:, inner].T), 0.99) > _MOST_RESIDUAL:
        raise ImageError("The preprocessing is more than resizing and cropping and cannot be inverted; run without --original.")
    return np.asarray(solution)


def _preprocessed_ramp(levels: Float[np.ndarray, "h w"], preprocess: Callable[[Picture], Tensor]) -> Float[np.ndarray, "h2 w2"]:
    ramp = np.repeat(levels.round().astype(np.uint8)[..., None], 3, axis=2)
    return seen_picture(preprocess(ramp), preprocess)[..., 0].astype(np.float64)
