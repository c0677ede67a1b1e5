"""Figures: a plain overlay or heatmap, or a captioned grid of methods by classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from camtool.visualization.blocks import above, alarm_line, captioned, colour_bar, grid
from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY, heatmap, overlay
from camtool.visualization.text import warn_of_unknown_letters

KINDS = ("overlay", "panel", "heatmap")

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
    signed: bool = False
    """Whether 0.5 of the map stands for zero."""

    @property
    def evidence(self) -> Float[np.ndarray, "*spatial"]:
        """The map's values for files of numbers: in [0, 1], of a signed map in [-1, 1]."""
        return 2 * self.saliency - 1 if self.signed else self.saliency


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
    side: int = 0
    """Of a volume: pixels of its longest edge; 0: those that suit the figure."""

    @property
    def scale_words(self) -> str:
        """What the ends of the colour bar stand for."""
        return self.scale or (_SIGNED_SCALE if self.signed else _OWN_SCALE)


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
        whole = captioned(drawn, captions, notes) if captions or notes or style.scale else drawn
        return above(whole, scale_of(style, whole.shape[1])) if style.scale else whole
    tiles: list[list[np.ndarray | None]] = [
        [
            captioned(picture, ["input"]) if index == 0 else None,
            *(captioned(_drawn(picture, cell, style), [cell.title, cell.subtitle], [cell.remark]) for cell in row),
        ]
        for index, row in enumerate(rows)
    ]
    return _whole(_folded(tiles), cells, style, alarm)


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
    tiles: list[list[np.ndarray | None]] = []
    for cell in cells:
        captions = [cell.title, cell.subtitle]
        tiles.append(
            [
                captioned(picture, input_captions),
                captioned(heatmap(cell.saliency, style.colormap), captions, [cell.remark]),
                captioned(_drawn(picture, cell, style), captions if overlay_captions is None else overlay_captions, [cell.remark]),
            ]
        )
    return _whole(_folded(tiles), cells, style, alarm)


def scale_of(style: Style, width: int) -> UInt8[np.ndarray, "k w 3"]:
    """Return the colour bar of a style."""
    return colour_bar(width, style.colormap, style.scale_words)


def _whole(tiles: Sequence[Sequence[np.ndarray | None]], cells: Sequence[Cell], style: Style, alarm: str) -> UInt8[np.ndarray, "H W 3"]:
    whole = grid(tiles)
    in_colours = [cell for cell in cells if cell.portrait is None or style.kind != "overlay"]
    if style.scale or len({cell.title for cell in in_colours}) > 1:  # one might take the redder of two classes for the stronger
        whole = above(whole, scale_of(style, whole.shape[1]))
    return above(whole, alarm_line(alarm, whole.shape[1])) if alarm else whole


def _folded(tiles: list[list[np.ndarray | None]]) -> list[list[np.ndarray | None]]:
    """Return the tiles, reflowed into several rows if it is one long row, into blocks side by side if it has many rows."""
    if len(tiles) == 1:
        (row,) = tiles
        columns = len(row) if len(row) <= _MOST_IN_A_ROW else math.ceil(math.sqrt(1.5 * len(row)))
        return [row[start : start + columns] for start in range(0, len(row), columns)]
    if len(tiles) <= _MOST_ROWS:
        return tiles
    blocks = max(round(math.sqrt(len(tiles) / len(tiles[0]))), 1)
    height = -(-len(tiles) // blocks)
    # In the blocks after the first one the column of the input is empty.
    empty = all(row[0] is None for row in tiles[height:])
    parts = [[row[1 if start and empty else 0 :] for row in tiles[start : start + height]] for start in range(0, len(tiles), height)]
    return [[tile for part in parts if row < len(part) for tile in part[row]] for row in range(height)]


def _drawn(picture: UInt8[np.ndarray, "h w 3"], cell: Cell, style: Style) -> UInt8[np.ndarray, "h w 3"]:
    if style.kind == "heatmap":
        return heatmap(cell.saliency, style.colormap)
    if cell.portrait is not None:
        return cell.portrait
    return overlay(picture, cell.saliency, style.colormap, style.opacity)
