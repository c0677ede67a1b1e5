"""Figures of volumes: slices through the maximum of a map, strips of slices, and projections that turn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8

from camtool.errors import OutputError, times
from camtool.io.volumes import Geometry
from camtool.visualization.blocks import above, alarm_line, grid
from camtool.visualization.concepts import ConceptMaps, below_figure, coloured, legend
from camtool.visualization.figures import Cell, Style, scale_of
from camtool.visualization.overlay import heatmap, overlay
from camtool.visualization.text import ALARM, INK, PAPER, suitable, text_lines, warn_of_unknown_letters
from camtool.visualization.turning import encode_frames, turning
from camtool.visualization.volume_views import AXES, Scan, columns_and_rows, cut, framed, in_rgb, resampled

__all__ = ["Slices", "concept_slices", "encode_frames", "montage", "strip", "turning"]

SIDE = 300
"""Pixels of the longest edge of a volume in a montage."""
STRIP_SIDE = 170
"""The same in a strip."""

_LEAST = 130  # pixels of a tile's width: captions need room
_LEAST_EDGE = 8  # pixels of a slice whose volume is very flat
_SUPPORT = 0.1  # of a map's largest value, from which on slices count to its support
_MOST_IN_A_ROW = 6
_LETTER = 13.0  # pixels of captions
_LEGEND = 600  # pixels of the label of a concept
_NAMES = {2: "axial", 1: "coronal", 0: "sagittal"}  # of slices along a displayed axis, where a geometry tells it
_KINDS = {"overlay": ("overlay",), "heatmap": ("heatmap",), "panel": ("scan", "heatmap", "overlay")}


@dataclass(frozen=True)
class Slices:
    """Which slices of a volume a strip has."""

    axis: str
    """Along which they follow each other: "axial", "coronal" or "sagittal", or "x", "y", "z" of the array."""
    count: int
    """How many; fewer if there are not so many."""
    whole: bool = False
    """Spread them over the volume; else from the first slice to the last in which a map reaches a tenth of its maximum."""


def montage(
    scan: np.ndarray,
    maps: Sequence[Cell],
    geometry: Geometry | None,
    style: Style,
    *,
    at: Sequence[int] | None = None,
    crosshair: bool = True,
    window: tuple[float, float] | None = None,
    alarm: str = "",
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) with a row for each map: slices along the three axes through its maximum, in radiological display.

    Axial slices are seen from the feet and coronal ones from the front: the patient's left is at the picture's right; sagittal ones have
    the anterior at the left. However the array is stored, the figure is the same. Slices are those of the array; of an oblique one
    letters name the nearest directions. Without a geometry the axes are x, y, z of the array, and their letters stand where they lead.

    Args:
        scan: (x, y, z), any real numbers; what is not finite is black.
        style: its kind "heatmap" draws maps alone, "panel" the scan, the map and the overlay below each other; with a `scale` there is
            a colour bar, and with several titles.
        at: voxel (x, y, z) that the slices go through; None: each map's maximum, of signed maps that of its magnitude.
        crosshair: whether lines point to that voxel.
        window: the scan's values that are black and white; None: its percentiles 0.5 and 99.5.
        alarm: large red text below the figure, "" for none.

    Raises:
        OutputError: if a map has another size than the scan, or `at` lies outside of it.

    Example:
        >>> scan = np.zeros((20, 24, 16), np.float32)
        >>> scan[4:8] = 1
        >>> maps = [Cell(scan, "tumour (1)", "gradcam at layer4")]
        >>> montage(scan, maps, Geometry.of_spacing((1.0, 1.0, 2.0)), Style()).shape[1] > 3 * 200
        True
    """
    shown, blocks = Scan.of(scan, geometry, window), []
    place = None if at is None else shown.displayed(_checked(at, scan.shape))
    for one in maps:
        values = shown.turned(one.saliency)
        through = place or _peak(values, style)
        rows = []
        for kind in _KINDS[style.kind]:
            views = [_View(shown, axis, style.side or SIDE) for axis in _NAMES]
            rows.append([view.drawn(_painter(kind, values, style), through, crosshair=crosshair) for view in views])
        rows[-1] = _with_places(rows[-1], shown, through)
        blocks.append(_captioned(grid(rows), one, f"through {shown.where(through, range(3))}"))
    return _finished(blocks, maps, style, alarm)


def strip(
    scan: np.ndarray,
    maps: Sequence[Cell],
    slices: Slices,
    geometry: Geometry | None,
    style: Style,
    *,
    window: tuple[float, float] | None = None,
    alarm: str = "",
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) of slices along an axis, evenly spaced and each with its place, for each map in turn.

    Slices are displayed as in `montage`, in the order of increasing right, anterior or superior; along x, y, z of increasing index.

    Args:
        window: the scan's values that are black and white; None: its percentiles 0.5 and 99.5.
        alarm: large red text below the figure, "" for none.

    Raises:
        OutputError: if there is no such axis, or it is not known without a geometry, the count is not above 0, or a map has another size
            than the scan.

    Example:
        >>> scan = np.zeros((20, 24, 16), np.float32)
        >>> scan[4:8] = 1
        >>> strip(scan, [Cell(scan, "tumour (1)", "gradcam")], Slices("x", 4), None, Style()).dtype
        dtype('uint8')
    """
    if slices.count < 1:
        raise OutputError(f"Expected a number of slices above 0, got {slices.count}.")
    shown, blocks = Scan.of(scan, geometry, window), []
    along = shown.axis_of(slices.axis)
    values = [shown.turned(one.saliency) for one in maps]
    places = _spread([_strength(one, style) for one in values], along, slices)
    if slices.axis not in AXES or shown.flips[along]:  # displayed indices lead to the left, posterior and inferior
        places.reverse()
    columns = len(places) if len(places) <= _MOST_IN_A_ROW else math.ceil(math.sqrt(1.5 * len(places)))
    for one, of_map in zip(maps, values, strict=True):
        rows = []
        for kind in _KINDS[style.kind]:
            view, paint = _View(shown, along, style.side or STRIP_SIDE), _painter(kind, of_map, style)
            tiles = []
            for place in places:
                through = tuple(place if k == along else side // 2 for k, side in enumerate(shown.grey.shape))
                tile = view.drawn(paint, through, crosshair=False)
                own = f"{AXES[shown.axes[along]]} = {shown.stored(through)[shown.axes[along]]}"
                texts = [own] if not shown.oriented else [own, shown.where(through, [along])]
                tiles.append(np.concatenate([tile, _lines(texts, tile.shape[1])]))
            rows += [tiles[first : first + columns] for first in range(0, len(tiles), columns)]
        blocks.append(_captioned(grid(rows), one, ""))
    return _finished(blocks, maps, style, alarm)


def concept_slices(scan: np.ndarray, concepts: ConceptMaps, geometry: Geometry | None) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) of slices along the three axes in the colours of concepts: for each concept those through its maximum.

    Args:
        scan: (x, y, z), as that of `montage`.

    Raises:
        OutputError: if the maps have another size than the scan.

    Example:
        >>> scan = np.zeros((20, 24, 16), np.float32)
        >>> scan[4:8] = 1
        >>> concept_slices(scan, ConceptMaps(np.stack([scan, 1 - scan]), ["plate", "air"]), None).shape[1] > 3 * 200
        True
    """
    shown, blocks = Scan.of(scan, geometry), []
    values = [shown.turned(one) for one in concepts.maps]

    def paint(picture: UInt8[np.ndarray, "h w 3"], section: _Section) -> UInt8[np.ndarray, "h w 3"]:
        return coloured(picture, np.stack([section(one) for one in values]), concepts.opacity)

    style = Style()
    for number, entry in enumerate(legend(concepts.labels, _LEGEND, letter=_LETTER)):
        through = _peak(values[number], style)
        views = [_View(shown, axis, SIDE) for axis in _NAMES]
        block = grid([_with_places([view.drawn(paint, through, crosshair=True) for view in views], shown, through)])
        row = np.full((len(entry), block.shape[1], 3), PAPER, np.uint8)
        row[:, : entry.shape[1]] = entry[:, : block.shape[1]]
        blocks += [row, block]
    return np.concatenate([*blocks, *below_figure(concepts, blocks[0].shape[1], letter=_LETTER)])


_Section: TypeAlias = Callable[[Float[np.ndarray, "a b c"]], Float[np.ndarray, "h w"]]
"""Returns the slice of displayed values at the size of the picture that it is painted on."""
_Paint: TypeAlias = Callable[[UInt8[np.ndarray, "h w 3"], _Section], UInt8[np.ndarray, "h w 3"]]


def _painter(kind: str, values: Float[np.ndarray, "a b c"], style: Style) -> _Paint:
    """Return what paints slices of the scan, of a map alone, or of the map over the scan."""

    def paint(picture: UInt8[np.ndarray, "h w 3"], section: _Section) -> UInt8[np.ndarray, "h w 3"]:
        if kind == "scan":
            return picture
        saliency = section(values)
        return heatmap(saliency, style.colormap) if kind == "heatmap" else overlay(picture, saliency, style.colormap, style.opacity)

    return paint


@dataclass(frozen=True)
class _View:
    """Which slices of a scan are drawn, and how large."""

    scan: Scan
    axis: int
    """Displayed axis along which they follow each other."""
    side: int
    """Pixels of the volume's longest edge."""

    def drawn(self, paint: _Paint, through: Sequence[int], *, crosshair: bool) -> UInt8[np.ndarray, "H W 3"]:
        """Return the slice through a displayed index in its frame."""
        scan, (across, down) = self.scan, columns_and_rows(self.axis)
        sides = scan.grey.shape
        extents = [side * step for side, step in zip(sides, scan.spacing, strict=True)]
        height, width = (max(round(extents[k] * self.side / max(extents)), _LEAST_EDGE) for k in (down, across))

        def section(values: Float[np.ndarray, "a b c"]) -> Float[np.ndarray, "h w"]:
            return resampled(cut(values, self.axis, through[self.axis]), (height, width))

        picture = paint(in_rgb(section(scan.grey)), section)
        mark = ((through[across] + 0.5) * width / sides[across], (through[down] + 0.5) * height / sides[down])
        tile = framed(picture, (scan.ends[across], scan.ends[down]), mark if crosshair else None)
        missing = max(_LEAST - tile.shape[1], 0)
        return np.pad(tile, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)))


def _with_places(tiles: Sequence[np.ndarray], shown: Scan, through: Sequence[int]) -> list[np.ndarray]:
    """Return the three slices with their names and places below them."""
    places = [shown.where(through, [axis]) for axis in _NAMES]
    names = places if not shown.oriented else [f"{_NAMES[axis]}: {text}" for axis, text in zip(_NAMES, places, strict=True)]
    return [np.concatenate([tile, _lines([name], tile.shape[1])]) for tile, name in zip(tiles, names, strict=True)]


def _strength(values: Float[np.ndarray, "a b c"], style: Style) -> Float[np.ndarray, "a b c"]:
    """Return how much a map says at each voxel; minus infinity where it is NaN."""
    return np.where(np.isnan(values), -np.inf, np.abs(values - 0.5) if style.signed else values)


def _peak(values: Float[np.ndarray, "a b c"], style: Style) -> tuple[int, ...]:
    """Return the displayed index of a map's maximum, of several the one nearest to their mean; the middle where the map is flat."""
    strength = _strength(values, style)
    if not strength.max() > strength.min(where=np.isfinite(strength), initial=np.inf):
        return tuple(side // 2 for side in values.shape)
    highest = np.argwhere(strength == strength.max())
    nearest = np.abs(highest - highest.mean(axis=0)).sum(axis=1).argmin()
    return tuple(int(place) for place in highest[nearest])


def _spread(strengths: Sequence[np.ndarray], axis: int, slices: Slices) -> list[int]:
    """Return displayed indices along an axis: the middles of equal parts of the maps' support, or of the whole."""
    others = tuple(k for k in range(3) if k != axis)
    profiles = [strength.max(axis=others) for strength in strengths]
    support = np.flatnonzero(np.any([(profile > 0) & (profile >= _SUPPORT * profile.max()) for profile in profiles], axis=0))
    first, last = (0, len(profiles[0]) - 1) if slices.whole or not support.size else (int(support[0]), int(support[-1]))
    size = last - first + 1
    count = min(slices.count, size)
    return [first + (2 * part + 1) * size // (2 * count) for part in range(count)]


def _checked(at: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    if len(at) != 3 or not all(0 <= place < side for place, side in zip(at, shape, strict=True)):
        raise OutputError(f"Expected a voxel (x, y, z) of the scan, which has {times(shape)}, got {tuple(at)}.")
    return tuple(int(place) for place in at)


def _lines(texts: Sequence[str], width: int, *, colour: tuple[int, int, int] = INK) -> UInt8[np.ndarray, "k w 3"]:
    return text_lines(texts, width, colour=colour, scale=_LETTER / suitable(width))


def _captioned(block: UInt8[np.ndarray, "h w 3"], one: Cell, place: str) -> UInt8[np.ndarray, "H w 3"]:
    captions = [text for text in (one.title, one.subtitle, place) if text]
    parts = [block, *([_lines(captions, block.shape[1])] if captions else [])]
    return np.concatenate([*parts, *([_lines([one.remark], block.shape[1], colour=ALARM)] if one.remark else [])])


def _finished(blocks: Sequence[np.ndarray], maps: Sequence[Cell], style: Style, alarm: str) -> UInt8[np.ndarray, "H W 3"]:
    warn_of_unknown_letters([text for one in maps for text in (one.title, one.subtitle)])
    whole = np.concatenate(blocks)
    if style.scale or len({one.title for one in maps}) > 1:  # one might take the redder of two classes for the stronger
        whole = above(whole, scale_of(style, whole.shape[1]))
    return above(whole, alarm_line(alarm, whole.shape[1])) if alarm else whole
