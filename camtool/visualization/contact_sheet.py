"""Contact sheet: many pictures with their maps on one page, each with a line of text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from camtool.visualization.captioned_sheet import CaptionedPicture, captioned_sheet
from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY, heatmap, overlay
from camtool.visualization.text import INK, text_lines, warn_of_unknown_letters

_LEAST_SIDE = 16  # of a map that is drawn alone: a signal's is one row


@dataclass(frozen=True)
class Tile:
    """A map over its picture."""

    saliency: Float[np.ndarray, "*spatial"]
    """In [0, 1]; of a volume its largest value along the first axes is drawn, a signal's as a strip."""
    caption: str
    picture: UInt8[np.ndarray, "h w 3"] | None = None
    """Of the map's size; None: the map alone."""


def contact_sheet(tiles: Sequence[Tile], heading: str, *, colormap: str = DEFAULT_COLORMAP) -> UInt8[np.ndarray, "H W 3"]:
    """Return a sheet (RGB) of all tiles, wider than high, below a heading.

    Example:
        >>> import numpy as np
        >>> tiles = [Tile(np.eye(32), f"{k}.png") for k in range(6)]
        >>> sheet = contact_sheet(tiles, "cluster 1: 40 %")
        >>> sheet.shape[1] > sheet.shape[0], sheet.dtype
        (True, dtype('uint8'))
    """
    warn_of_unknown_letters([heading])
    pictures = [CaptionedPicture(_drawn(tile, colormap), (tile.caption,)) for tile in tiles]
    sheet = captioned_sheet(pictures, columns=math.ceil(math.sqrt(1.5 * len(pictures))))
    return np.concatenate([text_lines([heading], sheet.shape[1], colour=INK, scale=0.6), sheet])


def _drawn(tile: Tile, colormap: str) -> UInt8[np.ndarray, "h w 3"]:
    flat = np.atleast_2d(tile.saliency)
    flat = flat.max(axis=tuple(range(flat.ndim - 2)))
    if tile.picture is not None:
        return overlay(tile.picture, flat, colormap, DEFAULT_OPACITY)
    height, width = (max(side, _LEAST_SIDE) for side in flat.shape)
    return cv2.resize(heatmap(flat, colormap), (width, height), interpolation=cv2.INTER_NEAREST)
