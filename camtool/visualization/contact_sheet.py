"""Contact sheet: many samples with their maps on one page below a heading, each with a line of text."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from camtool.visualization.captioned_sheet import CaptionedPicture, captioned_sheet
from camtool.visualization.overlay import DEFAULT_COLORMAP, heatmap
from camtool.visualization.text import INK, text_lines, warn_of_unknown_letters

_LEAST_SIDE = 16  # of a map that is drawn alone: a signal's is one row


def contact_sheet(tiles: Sequence[CaptionedPicture], heading: str) -> UInt8[np.ndarray, "H W 3"]:
    """Return a sheet (RGB) of all tiles, wider than high, below a heading.

    Example:
        >>> import numpy as np
        >>> tiles = [map_alone(np.eye(32), f"{k}.png") for k in range(6)]
        >>> sheet = contact_sheet(tiles, "cluster 1: 40 %")
        >>> sheet.shape[1] > sheet.shape[0], sheet.dtype
        (True, dtype('uint8'))
    """
    warn_of_unknown_letters([heading])
    sheet = captioned_sheet(tiles, columns=math.ceil(math.sqrt(1.5 * len(tiles))))
    scale = 0.6 if not any(tile.is_figure for tile in tiles) else 0.4  # figures are wide
    return np.concatenate([text_lines([heading], sheet.shape[1], colour=INK, scale=scale), sheet])


def map_alone(saliency: Float[np.ndarray, "*spatial"], caption: str, colormap: str = DEFAULT_COLORMAP) -> CaptionedPicture:
    """Return a map without its sample.

    Args:
        saliency: in [0, 1]; of a volume its largest value along the first axes is drawn, a signal's as a strip.
    """
    flat = np.atleast_2d(saliency)
    flat = flat.max(axis=tuple(range(flat.ndim - 2)))
    height, width = (max(side, _LEAST_SIDE) for side in flat.shape)
    return CaptionedPicture(cv2.resize(heatmap(flat, colormap), (width, height), interpolation=cv2.INTER_NEAREST), (caption,))
