"""Blocks of figures: captioned tiles, grids of them, colour bars and alarms, set above each other on paper."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from camtool.visualization.overlay import heatmap
from camtool.visualization.text import ALARM, INK, PAPER, suitable, text_lines

MARGIN = 8
"""Pixels between tiles."""

_LEAST_WIDTH = 224  # of a captioned tile: a 32x32 image has no room for text
_LEAST_LETTERS = 10.0  # pixels; smaller ones cannot be read
_MOST_ENLARGED = 672  # height in pixels up to which an image is enlarged to make room for its captions


def captioned(picture: UInt8[np.ndarray, "h w 3"], captions: Sequence[str], remarks: Sequence[str] = ()) -> UInt8[np.ndarray, "H W 3"]:
    """Return a picture above its captions, enlarged so that they have room; `remarks` follow in red."""
    height, width = picture.shape[:2]
    factor = max(min(-(-_LEAST_WIDTH // width), _MOST_ENLARGED // height), 1)
    tile = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) if factor > 1 else picture
    if tile.shape[1] < _LEAST_WIDTH:  # a tall image: pad it at the right
        tile = np.pad(tile, ((0, 0), (0, _LEAST_WIDTH - tile.shape[1]), (0, 0)), constant_values=PAPER[0])
    for texts, colour in ((captions, INK), (remarks, ALARM)):
        if any(texts):
            tile = above(tile, text_lines([text for text in texts if text], tile.shape[1], colour=colour))
    return tile


def grid(rows: Sequence[Sequence[np.ndarray | None]]) -> UInt8[np.ndarray, "H W 3"]:
    """Return tiles in rows and columns on paper; None leaves a place empty."""
    columns = max(len(row) for row in rows)
    widths = [max((row[k].shape[1] for row in rows if k < len(row) and row[k] is not None), default=0) for k in range(columns)]  # type: ignore[union-attr]
    heights = [max((tile.shape[0] for tile in row if tile is not None), default=0) for row in rows]
    canvas = np.full((sum(heights) + MARGIN * (len(rows) + 1), sum(widths) + MARGIN * (columns + 1), 3), PAPER, dtype=np.uint8)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        left = MARGIN
        for tile, width in zip(row, widths, strict=False):
            if tile is not None:
                canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left += width + MARGIN
        top += height + MARGIN
    return canvas


def above(upper: UInt8[np.ndarray, "h w 3"], lower: UInt8[np.ndarray, "k w 3"]) -> UInt8[np.ndarray, "H w 3"]:
    """Return a block above another one of its width."""
    return np.concatenate([upper, lower])


def colour_bar(width: int, colormap: str, words: str) -> UInt8[np.ndarray, "k w 3"]:
    """Return a colour bar on paper, and behind it what its ends stand for."""
    bar_width = min(max(width // 4, 60), 300)
    room = width - bar_width - 2 * MARGIN
    text = text_lines([words], room, scale=max(0.5, _LEAST_LETTERS / suitable(room)))
    strip = np.full((len(text) + MARGIN, width, 3), PAPER, dtype=np.uint8)
    strip[: len(text), bar_width + 2 * MARGIN :] = text
    values = np.linspace(0, 1, bar_width, dtype=np.float32)[None].repeat(min(len(text) - 4, 20), axis=0)
    strip[2 : 2 + len(values), MARGIN : MARGIN + bar_width] = heatmap(values, colormap)
    return strip


def alarm_line(text: str, width: int) -> UInt8[np.ndarray, "k w 3"]:
    """Return large red text."""
    return text_lines([text], width, colour=ALARM, scale=0.75)
