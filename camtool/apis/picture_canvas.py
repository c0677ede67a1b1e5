"""PictureCanvas: the image that maps are drawn on, a stored one, the network's input or the original image."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from camtool.apis.canvas import Canvas
from camtool.io.images import Picture
from camtool.models.sources.preprocessing import BandPreprocess
from camtool.visualization.concepts import ConceptMaps, concept_figure
from camtool.visualization.figures import Cell, Style, figure, panels
from camtool.visualization.inverse_preprocessing import Geometry, channel_order, measure_geometry, seen_picture
from camtool.visualization.signed_attributions import around_grey

if TYPE_CHECKING:
    from torch import Tensor

    from camtool.models.sources._base import Preprocess


class PictureCanvas(Canvas):
    """The image that maps are drawn on.

    Args:
        below: the image.
        geometry: where the network's input lies on it; None: it is the image itself.
    """

    def __init__(self, below: Picture, geometry: Geometry | None = None) -> None:
        self.below = below
        """The image under the maps."""
        self._geometry = geometry

    def placed(self, maps: np.ndarray) -> np.ndarray:
        """Return a map (h, w) of the network's input, aligned with `below`; NaN outside the network's input."""
        return maps if self._geometry is None else self._geometry.to_original(maps)

    def figure(self, rows: Sequence[Sequence[Cell]], style: Style, *, alarm: str = "") -> UInt8[np.ndarray, "H W 3"]:
        """Return one figure of all cells: plain for a single overlay or heatmap, else a captioned grid with the input at the left."""
        return figure(self.below, rows, style, alarm=alarm)

    def panels(
        self, cells: Sequence[Cell], style: Style, *, before: Sequence[str], after: Sequence[str], alarm: str = ""
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Return a row of three panels for each cell: the image, the map, the overlay."""
        titles = {"input_captions": ["original", *before], "overlay_captions": ["overlay", *after]}
        return panels(self.below, cells, replace(style, kind="panel"), **titles, alarm=alarm)

    def concepts(self, concepts: ConceptMaps) -> UInt8[np.ndarray, "H W 3"]:
        """Return the image, the concepts over it, and a legend."""
        return concept_figure(self.below, concepts)


class InputCanvas(PictureCanvas):
    """The network's input, or the original image, at hand.

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
        geometry = measure_geometry(picture, preprocess) if original else None
        super().__init__(picture if original else seen_picture(inputs, preprocess), geometry)

    def portrait(self, attributions: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
        """Return values (c, h, w) as a picture around grey."""
        values = attributions[self._shown or channel_order(self._preprocess)]
        return around_grey(np.stack([self.placed(channel) for channel in values]))
