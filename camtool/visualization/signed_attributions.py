"""Signed values of every input channel as a picture: grey where there is none."""

import numpy as np
from jaxtyping import Float, UInt8

_CONTRAST = 0.1  # of white for one standard deviation: pytorch-grad-cam's deprocess_image


def around_grey(attributions: Float[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return the values around a middle grey: their mean is 0.5 of white, a standard deviation 0.1, what is beyond is cut off.

    Three channels are red, green and blue, in this order; any other number is drawn by its mean. NaN (unseen) is grey.
    """
    values = attributions.astype(np.float64)
    if len(values) != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    # Not pytorch-grad-cam's 1e-5 below the fraction: gradients of that size would be drawn as none.
    deviation = np.nanstd(values)
    scaled = (values - np.nanmean(values)) / (deviation if deviation > 0 else 1)
    levels = 255 * (0.5 + _CONTRAST * np.nan_to_num(scaled)).clip(0, 1)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))
