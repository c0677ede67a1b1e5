"""Draw signed attributions of the input channels as an image around grey."""

import numpy as np
from jaxtyping import Float, UInt8

_CONTRAST = 0.1  # of white for one standard deviation: pytorch-grad-cam's deprocess_image


def around_grey(attributions: Float[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return signed values as an RGB image: their mean is drawn as 0.5 of white, one standard deviation as 0.1; values are clipped.

    Three channels are red, green and blue, in this order; another number of channels is averaged. NaN (outside the input) is grey.
    """
    values = attributions.astype(np.float64)
    if len(values) != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    # Without pytorch-grad-cam's 1e-5 in the denominator, which makes gradients of that size invisible.
    deviation = np.nanstd(values)
    scaled = (values - np.nanmean(values)) / (deviation if deviation > 0 else 1)
    levels = 255 * (0.5 + _CONTRAST * np.nan_to_num(scaled)).clip(0, 1)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))
