"""Sheet of many small pictures in rows, each above several captions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from camtool.visualization.text import ALARM, INK, PAPER, text_lines, warn_of_unknown_letters

WIDTH = 224
"""Pixels of a picture's longer side."""

_MARGIN = 8
_TEXT = 1.25  # times the size that suits a picture of this width
_MOST_COLUMNS = 8


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture of a sheet, with the lines below it."""

    picture: UInt8[np.ndarray, "h w 3"]
    captions: tuple[str, ...] = ()
    remark: str = ""
    """A line in red; "" for none."""


def captioned_sheet(tiles: Sequence[CaptionedPicture], columns: int = 0) -> UInt8[np.ndarray, "H W 3"]:
    """Return the pictures (RGB) in rows, each within 224x224 pixels above its captions, on paper.

    Args:
        columns: pictures in a row; 0: so many that the sheet is about square, at most 8.

    Example:
        >>> grey = np.full((100, 200, 3), 128, dtype=np.uint8)
        >>> captioned_sheet([CaptionedPicture(grey, ("cat.jpg",))] * 3, columns=2).shape[1]
        472
    """
    warn_of_unknown_letters([text for tile in tiles for text in (*tile.captions, tile.remark)])
    columns = columns or min(math.ceil(math.sqrt(len(tiles))), _MOST_COLUMNS)
    drawn = [_drawn(tile) for tile in tiles]
    rows = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
    heights = [max(len(tile) for tile in row) for row in rows]
    shape = (sum(heights) + _MARGIN * (len(rows) + 1), columns * WIDTH + _MARGIN * (columns + 1), 3)
    sheet = np.full(shape, PAPER, dtype=np.uint8)
    top = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = _MARGIN + column * (WIDTH + _MARGIN)
            sheet[top : top + len(tile), left : left + WIDTH] = tile
        top += height + _MARGIN
    return sheet


def no_picture() -> UInt8[np.ndarray, "h w 3"]:
    """Return a grey picture for the place of one that is gone."""
    return np.full((WIDTH // 2, WIDTH, 3), 224, dtype=np.uint8)


def _drawn(tile: CaptionedPicture) -> UInt8[np.ndarray, "H 224 3"]:
    height, width = tile.picture.shape[:2]
    factor = WIDTH / max(height, width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    picture = cv2.resize(tile.picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST)
    parts = [np.pad(picture, ((0, 0), (0, WIDTH - size[0]), (0, 0)), constant_values=PAPER[0])]
    for texts, colour in ((tile.captions, INK), ((tile.remark,), ALARM)):
        if any(texts):
            parts.append(text_lines([text for text in texts if text], WIDTH, colour=colour, scale=_TEXT))
    return np.concatenate(parts)
