"""Figures: a plain overlay or heatmap, or a captioned grid of methods by classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY, heatmap, overlay
from camtool.visualization.text import ALARM, INK, PAPER, text_lines, warn_of_unknown_letters

KINDS = ("overlay", "panel", "heatmap")

_LEAST_WIDTH = 224  # of a captioned tile: a 32x32 image has no room for text
_MOST_ENLARGED = 672  # height in pixels up to which an image is enlarged to make room for its captions
_MARGIN = 8
_MOST_IN_A_ROW = 6  # tiles; a longer row fits neither page nor screen
_MOST_ROWS = 6
_OWN_SCALE = "own scale: each map from its lowest value to its highest"
_SIGNED_SCALE = "own scale: each map from minus to plus its largest magnitude, 0 in the middle"


@dataclass(frozen=True)
class Span:
    """A part of the time axis that is marked: what a target is about."""

    start: float
    """On the axis of the record: in seconds, in samples without a rate."""
    end: float
    label: str = ""


@dataclass(frozen=True)
class Cell:
    """A map with its captions."""

    saliency: Float[np.ndarray, "*spatial"]
    """In [0, 1], (h, w) of an image; NaN outside the network's input."""
    title: str
    """The class: name, index, probability."""
    subtitle: str
    """The method and layer."""
    remark: str = ""
    """A note about this map, in red; "" for none."""
    portrait: UInt8[np.ndarray, "h w 3"] | None = None
    """Image drawn in place of the overlay, for methods with a value for each channel (guided backpropagation)."""
    spans: Sequence[Span] = ()
    """Of a signal: spans of time that are marked."""


@dataclass(frozen=True)
class Style:
    """Drawing options: kind of figure, colour map and opacity."""

    kind: str = "overlay"
    """One of KINDS."""
    colormap: str = DEFAULT_COLORMAP
    """A name that `camtool.visualization.overlay.colours_of` knows."""
    opacity: float = DEFAULT_OPACITY
    """Of the map over the image, in [0, 1]."""
    caption: bool = False
    """Write the captions below a single overlay or heatmap, too, which else has none and keeps its size."""
    signed: bool = False
    """Whether 0.5 of a map stands for zero."""
    scale: str = ""
    """What the maps' 0 and 1 stand for, where that is one for all of them: written beside a colour bar; "": each has its own scale."""
    slices: int = 0
    """Of a volume: number of axial slices; 0: the three slices through the maximum."""


def figure(
    picture: UInt8[np.ndarray, "h w 3"], rows: Sequence[Sequence[Cell]], style: Style, *, alarm: str = ""
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) of all cells: plain for a single overlay or heatmap, else a captioned grid with the input at the left.

    Args:
        rows: cells by method; maps and portraits have the size of `picture`.
        alarm: large red text below the figure ("RANDOM WEIGHTS …"), "" for none.

    Example:
        >>> picture = np.zeros((64, 64, 3), dtype=np.uint8)
        >>> cell = Cell(np.eye(64), "tabby (281)", "gradcam at layer4")
        >>> figure(picture, [[cell]], Style()).shape
        (64, 64, 3)
        >>> figure(picture, [[cell, cell]], Style()).shape[1] > 3 * 64
        True
    """
    cells = [cell for row in rows for cell in row]
    if style.kind == "panel":
        return panels(picture, cells, style, alarm=alarm)
    if style.caption or len(cells) > 1:
        warn_of_unknown_letters([text for cell in cells for text in (cell.title, cell.subtitle)])
    if len(cells) == 1:
        (cell,) = cells
        drawn = _drawn(picture, cell, style)
        captions = [cell.title, cell.subtitle] if style.caption else []
        notes = [text for text in (alarm, cell.remark) if text]
        whole = _tile(drawn, captions, notes) if captions or notes or style.scale else drawn
        return _above(whole, _scale(whole.shape[1], style)) if style.scale else whole
    grid: list[list[np.ndarray | None]] = [
        [
            _tile(picture, ["input"]) if index == 0 else None,
            *(_tile(_drawn(picture, cell, style), [cell.title, cell.subtitle], [cell.remark]) for cell in row),
        ]
        for index, row in enumerate(rows)
    ]
    return _whole(_folded(grid), cells, style, alarm)


def panels(
    picture: UInt8[np.ndarray, "h w 3"],
    cells: Sequence[Cell],
    style: Style,
    *,
    input_captions: Sequence[str] = ("input",),
    overlay_captions: Sequence[str] | None = None,
    alarm: str = "",
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) with one row for each cell: the input, the map, the overlay.

    Args:
        overlay_captions: of the overlay; None: the captions of the map.
        alarm: large red text below the figure, "" for none.
    """
    warn_of_unknown_letters([*(text for cell in cells for text in (cell.title, cell.subtitle)), *input_captions, *(overlay_captions or ())])
    grid: list[list[np.ndarray | None]] = []
    for cell in cells:
        captions = [cell.title, cell.subtitle]
        grid.append(
            [
                _tile(picture, input_captions),
                _tile(heatmap(cell.saliency, style.colormap), captions, [cell.remark]),
                _tile(_drawn(picture, cell, style), captions if overlay_captions is None else overlay_captions, [cell.remark]),
            ]
        )
    return _whole(_folded(grid), cells, style, alarm)


def _whole(grid: Sequence[Sequence[np.ndarray | None]], cells: Sequence[Cell], style: Style, alarm: str) -> UInt8[np.ndarray, "H W 3"]:
    whole = _grid(grid)
    in_colours = [cell for cell in cells if cell.portrait is None or style.kind != "overlay"]
    if style.scale or len({cell.title for cell in in_colours}) > 1:  # one might take the redder of two classes for the stronger
        whole = _above(whole, _scale(whole.shape[1], style))
    return _above(whole, _alarm(alarm, whole.shape[1])) if alarm else whole


def _folded(grid: list[list[np.ndarray | None]]) -> list[list[np.ndarray | None]]:
    """Return the grid, reflowed into several rows if it is one long row, into blocks side by side if it has many rows."""
    if len(grid) == 1:
        (row,) = grid
        columns = len(row) if len(row) <= _MOST_IN_A_ROW else math.ceil(math.sqrt(1.5 * len(row)))
        return [row[start : start + columns] for start in range(0, len(row), columns)]
    if len(grid) <= _MOST_ROWS:
        return grid
    blocks = max(round(math.sqrt(len(grid) / len(grid[0]))), 1)
    height = -(-len(grid) // blocks)
    # In the blocks after the first one the column of the input is empty.
    empty = all(row[0] is None for row in grid[height:])
    parts = [[row[1 if start and empty else 0 :] for row in grid[start : start + height]] for start in range(0, len(grid), height)]
    return [[tile for part in parts if row < len(part) for tile in part[row]] for row in range(height)]


def _drawn(picture: UInt8[np.ndarray, "h w 3"], cell: Cell, style: Style) -> UInt8[np.ndarray, "h w 3"]:
    if style.kind == "heatmap":
        return heatmap(cell.saliency, style.colormap)
    if cell.portrait is not None:
        return cell.portrait
    return overlay(picture, cell.saliency, style.colormap, style.opacity)


def _tile(picture: UInt8[np.ndarray, "h w 3"], captions: Sequence[str], remarks: Sequence[str] = ()) -> UInt8[np.ndarray, "H W 3"]:
    height, width = picture.shape[:2]
    factor = max(min(-(-_LEAST_WIDTH // width), _MOST_ENLARGED // height), 1)
    tile = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) if factor > 1 else picture
    if tile.shape[1] < _LEAST_WIDTH:  # a tall image: pad it at the right
        tile = np.pad(tile, ((0, 0), (0, _LEAST_WIDTH - tile.shape[1]), (0, 0)), constant_values=PAPER[0])
    for texts, colour in ((captions, INK), (remarks, ALARM)):
        if any(texts):
            tile = _above(tile, text_lines([text for text in texts if text], tile.shape[1], colour=colour))
    return tile


def _grid(rows: Sequence[Sequence[np.ndarray | None]]) -> UInt8[np.ndarray, "H W 3"]:
    columns = max(len(row) for row in rows)
    widths = [max((row[k].shape[1] for row in rows if k < len(row) and row[k] is not None), default=0) for k in range(columns)]  # type: ignore[union-attr]
    heights = [max((tile.shape[0] for tile in row if tile is not None), default=0) for row in rows]
    canvas = np.full((sum(heights) + _MARGIN * (len(rows) + 1), sum(widths) + _MARGIN * (columns + 1), 3), PAPER, dtype=np.uint8)
    top = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        left = _MARGIN
        for tile, width in zip(row, widths, strict=False):
            if tile is not None:
                canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left += width + _MARGIN
        top += height + _MARGIN
    return canvas


def _above(upper: UInt8[np.ndarray, "h w 3"], lower: UInt8[np.ndarray, "k w 3"]) -> UInt8[np.ndarray, "H w 3"]:
    return np.concatenate([upper, lower])


def _scale(width: int, style: Style) -> UInt8[np.ndarray, "k w 3"]:
    """Return a colour bar on paper, and what its ends stand for."""
    bar_width = min(max(width // 4, 60), 300)
    text = text_lines([style.scale or (_SIGNED_SCALE if style.signed else _OWN_SCALE)], width - bar_width - 2 * _MARGIN, scale=0.5)
    strip = np.full((len(text) + _MARGIN, width, 3), PAPER, dtype=np.uint8)
    strip[: len(text), bar_width + 2 * _MARGIN :] = text
    values = np.linspace(0, 1, bar_width, dtype=np.float32)[None].repeat(min(len(text) - 4, 20), axis=0)
    strip[2 : 2 + len(values), _MARGIN : _MARGIN + bar_width] = heatmap(values, style.colormap)
    return strip


def _alarm(text: str, width: int) -> UInt8[np.ndarray, "k w 3"]:
    return text_lines([text], width, colour=ALARM, scale=0.75)
