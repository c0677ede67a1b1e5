"""Figures of an explained image: one of all maps, or one for each map; on the network's input or on the original image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from camtool.apis.selection_result import ExplainedTarget, SelectionResult
from camtool.attribution.result import CAMResult
from camtool.errors import OutputError, closest
from camtool.io.images import Picture
from camtool.models.sources.preprocessing import BandPreprocess
from camtool.visualization.figures import KINDS, Cell, Style, figure
from camtool.visualization.inverse_preprocessing import channel_order, measure_geometry, seen_picture
from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY, DIVERGING_COLORMAP, check_style
from camtool.visualization.signed_attributions import around_grey

if TYPE_CHECKING:
    from torch import Tensor

    from camtool.models.sources._base import Preprocess

RANDOM_WEIGHTS = "RANDOM WEIGHTS: this map means nothing"
"""Written large below figures of a network without a checkpoint."""


@runtime_checkable
class MapScale(Protocol):
    """One scale for all maps, such as that of a data set."""

    @property
    def words(self) -> str:
        """What 0 and 1 stand for: beside the colour bar."""

    def maps(self, result: CAMResult, layer: str) -> "Tensor":
        """Return the maps of a result, or of one of its layers, as `result.maps`, on this scale and in [0, 1].

        Raises:
            CamtoolError: if the scale is not one of this method's and layer's maps.
        """


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

    def check(self) -> None:
        """Raise OutputError if there is no such kind or colormap, the opacity is out of range, or there are two scales."""
        if self.signed and self.scale is not None:
            raise OutputError("Expected one scale of the maps, got both: signed (--signed) and that of a normaliser (--normaliser).")
        if self.kind not in KINDS:
            raise OutputError(f"Unknown figure '{self.kind}'{closest(self.kind, KINDS)}; expected one of: {', '.join(KINDS)}.")
        check_style(self.colormap, self.opacity)

    @property
    def style(self) -> Style:
        """The style, as the drawing functions take it."""
        colormap = DIVERGING_COLORMAP if self.signed and self.colormap == DEFAULT_COLORMAP else self.colormap
        return Style(self.kind, colormap, self.opacity, self.caption, self.signed, self.scale.words if self.scale else "")


class Canvas:
    """The image that maps are drawn on: the network's input or the original image.

    Args:
        picture: the original image.
        inputs: (1, c, h, w), the preprocessed image.
        original: whether to draw on the original image.

    Raises:
        ImageError: if `original` and the preprocessing cannot be undone.
    """

    def __init__(self, picture: Picture, inputs: "Tensor", preprocess: "Preprocess", *, original: bool) -> None:
        self._shown: list[int] | None = None
        if isinstance(preprocess, BandPreprocess):  # an RGB view of the bands takes the same way
            self._shown, preprocess = list(preprocess.shown), preprocess.of_picture
            inputs = preprocess(picture)
        self._preprocess = preprocess
        self._geometry = measure_geometry(picture, preprocess) if original else None
        self.below: Picture = picture if original else seen_picture(inputs, preprocess)
        """The image under the maps."""

    def placed(self, maps: np.ndarray) -> np.ndarray:
        """Return a map (h, w) of the network's input, aligned with `below`; NaN outside the network's input."""
        return maps if self._geometry is None else self._geometry.to_original(maps)

    def cell(
        self, answer: SelectionResult, method: str, k: int, layer: str = "", *, signed: bool = False, scale: MapScale | None = None
    ) -> Cell:
        """Return a method's map of the k-th target with its captions: the fused map, or that of one layer.

        Args:
            signed: whether it is the raw map, 0 at 0.5.
            scale: of the map; None: its own.
        """
        result = answer.results[method]
        maps = (result.layer_maps[layer] if layer else result.maps)[0, k].cpu().numpy()
        status = result.status[0][k]
        if signed:
            with_signs = result.signed(layer)[0, k]
            maps, status = (0.5 + with_signs / 2).cpu().numpy(), "ok" if with_signs.amin() < 0 else "no negative values"
        if scale is not None:
            maps, status = scale.maps(result, layer)[0, k].cpu().numpy(), "ok"
        discriminative = "" if result.class_discriminative else " (any class)"
        portrait = None
        if result.attributions is not None and not signed and scale is None:
            values = result.attributions[0, k].cpu().numpy()[self._shown or channel_order(self._preprocess)]
            portrait = around_grey(np.stack([self.placed(channel) for channel in values]))
        return Cell(
            self.placed(maps),
            caption(answer, answer.targets[k]),
            f"{result.label or method}{discriminative} {f'at {layer}' if layer else result.source}",
            "" if status == "ok" else status,
            portrait,
        )


@dataclass(frozen=True)
class Figures:
    """One figure of all maps, and one for each map: (method, target's file name, layer or "") -> figure."""

    whole: UInt8[np.ndarray, "H W 3"]
    single: dict[tuple[str, str, str], Picture]


def draw(canvas: Canvas, answer: SelectionResult, options: FigureOptions, *, alarm: str, single: bool = False) -> Figures:
    """Return the figures of one image.

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
    by_map = {
        (answer.results[method].label or method, answer.targets[k].file_name, layer): figure(
            canvas.below, [[cell]], options.style, alarm=alarm
        )
        for (method, layer), row in zip(keys, rows, strict=True)
        for k, cell in enumerate(row)
        if single
    }
    # With one target all maps stand side by side; with several each method has a row.
    grid = [[cell for row in rows for cell in row]] if count == 1 else rows
    return Figures(figure(canvas.below, grid, options.style, alarm=alarm), by_map)


def caption(answer: SelectionResult, target: ExplainedTarget) -> str:
    """Return the description of a map's target, with its class's probability or else the target's value."""
    if target.is_class_score and target.index is not None:
        return f"{target.words}, {shown(answer, target.index)}"
    return f"{target.words}, {target.value:.3g}"


def shown(answer: SelectionResult, index: int) -> str:
    """Return a class's probability (or value, of a regression) as text."""
    value = answer.by_class[index]
    return f"{value:.4g}" if answer.scale == "value" else f"{100 * value:.1f} %"
