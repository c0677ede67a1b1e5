"""Figures: a plain overlay or heatmap, or a captioned grid of methods by classes."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY, heatmap, overlay

KINDS = ("overlay", "panel", "heatmap")

_LEAST_WIDTH = 224  # of a captioned tile: a 32x32 image has no room for text
_MOST_ENLARGED = 672  # height in pixels up to which an image is enlarged to make room for its captions
_MARGIN = 8
_MOST_IN_A_ROW = 6  # tiles; a longer row fits neither page nor screen
_MOST_ROWS = 6
_NO_LETTER = "\uffff"  # drawn as the box for missing glyphs
_PAPER, _INK, _ALARM = (255, 255, 255), (20, 20, 20), (176, 0, 32)

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Cell:
    """A map with its captions."""

    saliency: Float[np.ndarray, "h w"]
    """In [0, 1]; NaN outside the network's input."""
    title: str
    """The class: name, index, probability."""
    subtitle: str
    """The method and layer."""
    remark: str = ""
    """A note about this map, in red; "" for none."""
    portrait: UInt8[np.ndarray, "h w 3"] | None = None
    """Image drawn in place of the overlay, for methods with a value for each channel (guided backpropagation)."""


@dataclass(frozen=True)
class Style:
    """Drawing options: kind of figure, colour map and opacity."""

    kind: str = "overlay"
    """One of KINDS."""
    colormap: str = DEFAULT_COLORMAP
    """One of `camtool.visualization.overlay.COLORMAPS`."""
    opacity: float = DEFAULT_OPACITY
    """Of the map over the image, in [0, 1]."""


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
    if len(cells) == 1 and style.kind != "panel":
        drawn = _drawn(picture, cells[0], style)
        notes = [text for text in (alarm, cells[0].remark) if text]
        return _tile(drawn, [], notes) if notes else drawn
    if style.kind == "panel":
        return panels(picture, cells, style, alarm=alarm)
    grid: list[list[np.ndarray | None]] = [
        [
            _tile(picture, ["input"]) if index == 0 else None,
            *(_tile(_drawn(picture, cell, style), [cell.title, cell.subtitle], [cell.remark]) for cell in row),
        ]
        for index, row in enumerate(rows)
    ]
    return _whole(_folded(grid), alarm)


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
    return _whole(_folded(grid), alarm)


def _whole(grid: Sequence[Sequence[np.ndarray | None]], alarm: str) -> UInt8[np.ndarray, "H W 3"]:
    whole = _grid(grid)
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
        tile = np.pad(tile, ((0, 0), (0, _LEAST_WIDTH - tile.shape[1]), (0, 0)), constant_values=_PAPER[0])
    for texts, colour in ((captions, _INK), (remarks, _ALARM)):
        if any(texts):
            tile = _above(tile, _lines([text for text in texts if text], tile.shape[1], colour=colour))
    return tile


def _grid(rows: Sequence[Sequence[np.ndarray | None]]) -> UInt8[np.ndarray, "H W 3"]:
    columns = max(len(row) for row in rows)
    widths = [max((row[k].shape[1] for row in rows if k < len(row) and row[k] is not None), default=0) for k in range(columns)]  # type: ignore[union-attr]
    heights = [max((tile.shape[0] for tile in row if tile is not None), default=0) for row in rows]
    canvas = np.full((sum(heights) + _MARGIN * (len(rows) + 1), sum(widths) + _MARGIN * (columns + 1), 3), _PAPER, dtype=np.uint8)
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


def _alarm(text: str, width: int) -> UInt8[np.ndarray, "k w 3"]:
    return _lines([text], width, colour=_ALARM, scale=0.75)


def _lines(texts: Sequence[str], width: int, *, colour: tuple[int, int, int] = _INK, scale: float = 1.0) -> UInt8[np.ndarray, "k w 3"]:
    size = scale * min(max(width / 22, 11), 48)
    font = _font("".join(texts), size)
    lines = [line for text in texts for line in _wrapped(text, font, width - 8)]
    height = round(size * 1.3)
    image = Image.new("RGB", (width, height * len(lines) + 4), _PAPER)
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        draw.text((4, 2 + index * height), line, fill=colour, font=font)
    return np.asarray(image)


def _font(text: str, size: float) -> Font:
    """Return Pillow's default font; if it lacks letters of `text`, DejaVu Sans (Latin, Greek, Cyrillic and others)."""
    default = ImageFont.load_default(size)
    if text.isascii() or _draws(default, text):
        return default
    matplotlib = find_spec("matplotlib")  # a dependency of mmengine; only its font file is used
    file = Path(matplotlib.origin or "").parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if matplotlib else None
    return ImageFont.truetype(file, size) if file is not None and file.is_file() else default


def _draws(font: Font, text: str) -> bool:
    missing = bytes(font.getmask(_NO_LETTER))
    return not any(bytes(font.getmask(letter)) == missing for letter in set(text))


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """Return `text` in lines of at most `width` pixels, broken at spaces, else after dots, else anywhere."""
    lines: list[str] = []
    rest = text
    while font.getlength(rest) > width and len(rest) > 1:
        most = max(bisect_right(range(1, len(rest) + 1), float(width), key=lambda k: font.getlength(rest[:k])), 1)
        cut = max(rest.rfind(" ", 1, most + 1), rest.rfind(".", 1, most - 1) + 1)
        cut = cut if cut > 0 else most
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*lines, rest]
