"""View: the picture that the network saw, and where on the original picture it lies, both measured, not derived.

Preprocessing is treated as a black box: known pictures are sent through it, and what comes out tells how values and positions
were changed. So it holds for every pipeline, whatever library its steps are from.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from camtool.data.images import Picture
from camtool.errors import ImageError

_PROBE_COLOURS = (51, 102, 204)  # red, green, blue of the picture that tells the channel order
_MOST_RESIDUAL = 2.0  # grey levels; resizing with rounding leaves less than one


def seen_picture(inputs: Float[Tensor, "1 c h w"], preprocess: Callable[[Picture], Tensor]) -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture that `inputs` is, in RGB: the values before normalisation, rounded to whole levels."""
    low, high = (_levels(preprocess, (value,) * 3) for value in (0, 255))
    levels = 255 * (inputs[0].double().cpu().numpy() - low[:, None, None]) / (high - low)[:, None, None]
    if len(levels) == 1:
        levels = np.repeat(levels, 3, axis=0)
    else:
        seen = 255 * (_levels(preprocess, _PROBE_COLOURS) - low) / (high - low)
        levels = levels[[int(np.abs(seen - colour).argmin()) for colour in _PROBE_COLOURS]]
    return np.ascontiguousarray(levels.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _levels(preprocess: Callable[[Picture], Tensor], colour: tuple[int, ...]) -> Float[np.ndarray, " c"]:
    plain = np.full((256, 256, 3), colour, dtype=np.uint8)
    inputs = preprocess(plain)
    return inputs[0, :, inputs.shape[2] // 2, inputs.shape[3] // 2].double().cpu().numpy()


@dataclass(frozen=True)
class Geometry:
    """The affine map from pixel centres of the network's picture to pixel centres of the original: original = matrix @ (x, y, 1)."""

    matrix: Float[np.ndarray, "2 3"]
    seen_size: tuple[int, int]
    original_size: tuple[int, int]
    """(height, width), as `seen_size`."""

    def to_original(self, maps: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "H W"]:
        """Return a map over the network's picture laid over the original; NaN where the network saw nothing."""
        height, width = self.original_size
        linear, offset = self.matrix[:, :2], self.matrix[:, 2]
        inverse = np.linalg.inv(linear)
        x, y = np.meshgrid(np.arange(width) - offset[0], np.arange(height) - offset[1])
        columns = (inverse[0, 0] * x + inverse[0, 1] * y).astype(np.float32)
        rows = (inverse[1, 0] * x + inverse[1, 1] * y).astype(np.float32)
        laid = cv2.remap(maps.astype(np.float32), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (columns > -0.51) & (columns < self.seen_size[1] - 0.49) & (rows > -0.51) & (rows < self.seen_size[0] - 0.49)
        return np.where(inside, laid, np.float32(np.nan))


def measure_geometry(picture: Picture, preprocess: Callable[[Picture], Tensor]) -> Geometry:
    """Return where on `picture` the network looked, from two ramps of its size sent through the preprocessing.

    Raises:
        ImageError: if the preprocessing is not a resize, crop, flip or turn, so that it cannot be undone.
    """
    height, width = picture.shape[:2]
    rows = []
    for axis, length in ((1, width), (0, height)):
        ramp = np.linspace(0, 255, length)
        plain = np.broadcast_to(ramp[None, :, None] if axis == 1 else ramp[:, None, None], (height, width, 3))
        seen = seen_picture(preprocess(plain.round().astype(np.uint8)), preprocess)[..., 0].astype(np.float64)
        y, x = np.mgrid[: seen.shape[0], : seen.shape[1]]
        # Resampling flattens a ramp at its ends; what is left is exactly linear.
        inner = (seen > 8) & (seen < 247)
        design = np.stack([x[inner], y[inner], np.ones(inner.sum())], axis=1)
        if inner.sum() < 16:
            raise ImageError("The preprocessing leaves too little of the picture to draw on the original; leave --original out.")
        solution, *_ = np.linalg.lstsq(design, seen[inner], rcond=None)
        residual = np.abs(design @ solution - seen[inner])
        if np.quantile(residual, 0.99) > _MOST_RESIDUAL:
            raise ImageError("The preprocessing is more than a resize and a crop, so it cannot be undone; leave --original out.")
        rows.append(solution * (length - 1) / 255)
    return Geometry(np.array(rows), (seen.shape[0], seen.shape[1]), (height, width))
