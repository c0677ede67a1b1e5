"""Figures of an explained sample: one of all maps, or one for each map."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from camtool.apis.canvas import Canvas, MapScale
from camtool.apis.selection_result import SelectionResult
from camtool.errors import OutputError, closest
from camtool.io.images import Picture, check_format
from camtool.visualization.figures import KINDS, Cell, Style
from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY, DIVERGING_COLORMAP, check_style

Key: TypeAlias = tuple[str, str, str]
"""Of a map: method, the target's file name, layer or "" for the fused map."""

RANDOM_WEIGHTS = "RANDOM WEIGHTS: this map means nothing"
"""Written large below figures of a network without a checkpoint."""

_OPTIONS = {"kind": "--figure", "scale": "--normaliser"}
"""Of settings that the command line calls by another name."""


@dataclass(frozen=True)
class FigureOptions:
    """How an explanation is drawn."""

    kind: str = "overlay"
    """"overlay", "panel" (input, map and overlay, captioned) or "heatmap"."""
    colormap: str = DEFAULT_COLORMAP
    """Name of a colour map of OpenCV or matplotlib, reversed with "_r" behind it."""
    opacity: float = DEFAULT_OPACITY
    """Opacity of the map over the image, in [0, 1]."""
    original: bool = False
    """Draw on the original image, resize and crop undone."""
    per_layer: bool = False
    """Show the map of each target layer beside the fused one."""
    caption: bool = False
    """Write class, method and layer below a single overlay or heatmap, which else keeps the size of what it is drawn on."""

    signed: bool = False
    """Draw the raw maps with their signs, 0 in the middle of a diverging colour map ("coolwarm" in place of the default)."""

    scale: MapScale | None = None
    """Scale of the maps, with a colour bar; None: each has its own."""

    slices: int = 0
    """Of a volume: a strip of so many axial slices in place of those through the maximum."""

    def check(self) -> None:
        """Raise OutputError if there is no such kind or colormap, the opacity is out of range or a heatmap's, or there are two scales."""
        if self.signed and self.scale is not None:
            raise OutputError("Expected one scale of the maps, got both: signed (--signed) and that of a normaliser (--normaliser).")
        if self.kind not in KINDS:
            raise OutputError(f"Unknown figure '{self.kind}'{closest(self.kind, KINDS)}; expected one of: {', '.join(KINDS)}.")
        check_style(self.colormap, self.opacity)
        if self.kind == "heatmap" and self.opacity != DEFAULT_OPACITY:
            raise OutputError("Expected --opacity of maps over an image, got --figure heatmap, maps alone; leave one of them out.")

    def check_effect(self, suffix: str, formats: Mapping[str, Collection[str]]) -> None:
        """Raise OutputError if settings were chosen that no file of this suffix shows, or there is no such file.

        Args:
            formats: by suffix the settings that change a file, or ask for what it has anyway.

        Example:
            >>> from camtool.apis.figures import FigureOptions
            >>> from camtool.apis.volumes import VolumeCanvas
            >>> FigureOptions(signed=True).check_effect(".nii.gz", VolumeCanvas.formats)
            >>> FigureOptions(slices=5).check_effect(".nii.gz", VolumeCanvas.formats)
            Traceback (most recent call last):
            ...
            camtool.errors.OutputError: Expected options that a file '.nii.gz' shows, got --slices; leave it out, or write a file '.png'.
        """
        check_format(suffix, formats)
        chosen = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        idle = [name for name in chosen if name not in formats[suffix]]
        if not idle:
            return
        named = ", ".join(_OPTIONS.get(name, f"--{name.replace('_', '-')}") for name in idle)
        elsewhere = ", or write a file '.png'" if set(idle) <= set(formats[".png"]) else ": of this kind of input no file does"
        raise OutputError(
            f"Expected options that a file '{suffix}' shows, got {named}; leave {'it' if len(idle) == 1 else 'them'} out{elsewhere}."
        )

    @property
    def style(self) -> Style:
        """The style, as the drawing functions take it."""
        colormap = DIVERGING_COLORMAP if self.signed and self.colormap == DEFAULT_COLORMAP else self.colormap
        return Style(self.kind, colormap, self.opacity, self.caption, self.signed, self.scale.words if self.scale else "", self.slices)


@dataclass(frozen=True)
class Figures:
    """One figure of all maps, and one for each map: (method, target's file name, layer or "") -> figure."""

    whole: UInt8[np.ndarray, "H W 3"]
    single: dict[Key, Picture]
    cells: dict[Key, Cell] = field(default_factory=dict)
    """The maps themselves."""


def draw(canvas: Canvas, answer: SelectionResult, options: FigureOptions, *, alarm: str, single: bool = False) -> Figures:
    """Return the figures of one sample.

    Args:
        alarm: text written large below each figure.
        single: whether to draw a figure of each map as well.
    """
    keys = []
    for method, result in answer.results.items():
        keys.append((method, ""))
        if options.per_layer and len(result.layer_maps) > 1:
            keys += [(method, layer) for layer in result.layer_maps]
    count = len(answer.targets)
    rows = [
        [canvas.cell(answer, method, k, layer, signed=options.signed, scale=options.scale) for k in range(count)] for method, layer in keys
    ]
    cells = {
        (answer.results[method].label or method, answer.targets[k].file_name, layer): cell
        for (method, layer), row in zip(keys, rows, strict=True)
        for k, cell in enumerate(row)
    }
    by_map = {key: canvas.figure([[cell]], options.style, alarm=alarm) for key, cell in cells.items()} if single else {}
    # With one target all maps stand side by side; with several each method has a row.
    grid = [[cell for row in rows for cell in row]] if count == 1 else rows
    return Figures(canvas.figure(grid, options.style, alarm=alarm), by_map, cells)
