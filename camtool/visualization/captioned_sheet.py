"""Sheet of many small pictures in rows, each above several captions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from camtool.visualization.text import ALARM, INK, PAPER, suitable, text_lines, warn_of_unknown_letters

WIDTH = 224
"""Pixels of a picture's longer side."""

_MARGIN = 8
_LETTER = 13.75  # pixels of captions
_MOST_COLUMNS = 8
_WIDEST = 2700  # pixels of a sheet of figures


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture of a sheet, with the lines below it."""

    picture: UInt8[np.ndarray, "h w 3"]
    captions: tuple[str, ...] = ()
    remark: str = ""
    """A line in red; "" for none."""
    is_figure: bool = False
    """Whether it is drawn as it is; else its longer side becomes WIDTH pixels."""


def captioned_sheet(tiles: Sequence[CaptionedPicture], columns: int = 0, *, together: int = 1) -> UInt8[np.ndarray, "H W 3"]:
    """Return the pictures (RGB) in rows, each within 224x224 pixels, figures at their own size, above their captions, on paper.

    Args:
        columns: in a row; 0: so many that a sheet of pictures is about square, at most 8. Of figures, as many of them as fit.
        together: so many that follow each other are not parted by the end of a row.

    Example:
        >>> grey = np.full((100, 200, 3), 128, dtype=np.uint8)
        >>> captioned_sheet([CaptionedPicture(grey, ("cat.jpg",))] * 3, columns=2).shape[1]
        472
    """
    warn_of_unknown_letters([text for tile in tiles for text in (*tile.captions, tile.remark)])
    width = max(tile.picture.shape[1] if tile.is_figure else WIDTH for tile in tiles)
    most = max(_WIDEST // (width + _MARGIN), 1)
    columns = columns or min(math.ceil(math.sqrt(len(tiles))), _MOST_COLUMNS)
    columns = columns if columns <= most else max(most - most % together, together)
    drawn = [_drawn(tile, width) for tile in tiles]
    rows = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
    heights = [max(len(tile) for tile in row) for row in rows]
    shape = (sum(heights) + _MARGIN * (len(rows) + 1), columns * width + _MARGIN * (columns + 1), 3)
    sheet = np.full(shape, PAPER, dtype=np.uint8)
    top = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = _MARGIN + column * (width + _MARGIN)
            sheet[top : top + len(tile), left : left + width] = tile
        top += height + _MARGIN
    return sheet


def no_picture() -> UInt8[np.ndarray, "h w 3"]:
    """Return a grey picture for the place of one that is gone."""
    return np.full((WIDTH // 2, WIDTH, 3), 224, dtype=np.uint8)


def _drawn(tile: CaptionedPicture, width: int) -> UInt8[np.ndarray, "H width 3"]:
    picture = tile.picture if tile.is_figure else _within(tile.picture)
    parts = [np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=PAPER[0])]
    scale = _LETTER / suitable(width)  # letters of one size, however wide the tile is
    for texts, colour in ((tile.captions, INK), ((tile.remark,), ALARM)):
        if any(texts):
            parts.append(text_lines([text for text in texts if text], width, colour=colour, scale=scale))
    return np.concatenate(parts)


def _within(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
    height, width = picture.shape[:2]
    factor = WIDTH / max(height, width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST)
