"""Canvases: what maps are drawn on, an image, a volume or a signal."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from camtool.apis.selection_result import ExplainedTarget, SelectionResult
from camtool.attribution.result import CAMResult
from camtool.io.images import FORMATS, encode
from camtool.visualization.captioned_sheet import CaptionedPicture
from camtool.visualization.concepts import ConceptMaps
from camtool.visualization.figures import Cell, Style

ANY_FIGURE = frozenset(("colormap", "original", "per_layer", "caption", "signed", "scale"))
"""Settings that each picture of maps shows."""
OVER_AN_IMAGE = ANY_FIGURE | {"kind", "opacity"}
"""Those of maps over an image, or beside it."""


@runtime_checkable
class MapScale(Protocol):
    """One scale for all maps, such as that of a data set."""

    @property
    def words(self) -> str:
        """What 0 and 1 stand for: beside the colour bar."""

    def maps(self, result: CAMResult, layer: str) -> Tensor:
        """Return the maps of a result, or of one of its layers, as `result.maps`, on this scale and in [0, 1].

        Raises:
            CamtoolError: if the scale is not one of this method's and layer's maps.
        """


class Canvas(ABC):
    """What maps are drawn on."""

    @abstractmethod
    def placed(self, maps: np.ndarray) -> np.ndarray:
        """Return a map (*spatial) of the network's input, aligned with what is drawn on; NaN outside the network's input."""

    @abstractmethod
    def figure(self, rows: Sequence[Sequence[Cell]], style: Style, *, alarm: str = "") -> UInt8[np.ndarray, "H W 3"]:
        """Return one figure (RGB) of all cells.

        Args:
            rows: cells by method.
            alarm: large red text below the figure, "" for none.
        """

    formats: ClassVar[Mapping[str, Collection[str]]] = dict.fromkeys(FORMATS, OVER_AN_IMAGE)
    """By suffix of the files that `encoded` writes: which settings of `FigureOptions` change a file, or ask for what it has anyway."""

    def encoded(self, whole: UInt8[np.ndarray, "H W 3"], cells: Sequence[Cell], suffix: str, style: Style) -> bytes:
        """Return the content of a file of this suffix.

        Args:
            whole: one figure of all cells.
            cells: the maps.

        Raises:
            OutputError: if the suffix is none of `formats`, or a file of it cannot hold these maps.
        """
        return encode(whole, suffix)

    def panels(
        self, cells: Sequence[Cell], style: Style, *, before: Sequence[str], after: Sequence[str], alarm: str = ""
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Return one figure with what is drawn on, the map, and the map over it, of each cell.

        Args:
            before: captions of what is drawn on.
            after: captions of the map over it.
            alarm: large red text below the figure, "" for none.
        """
        said = "; ".join([*before, *after])
        return self.figure([[replace(cell, title=f"{cell.title}; {said}")] for cell in cells], replace(style, kind="panel"), alarm=alarm)

    @abstractmethod
    def concepts(self, concepts: ConceptMaps) -> UInt8[np.ndarray, "H W 3"]:
        """Return one figure (RGB) of concepts, each in its colour, with a legend; their maps are aligned with what is drawn on."""

    def tile(self, cell: Cell, style: Style, captions: tuple[str, ...], remark: str = "") -> CaptionedPicture:
        """Return a map as a part of a sheet of many.

        Args:
            captions: lines below it; `remark` follows in red.
        """
        return CaptionedPicture(self.figure([[cell]], style), captions, remark)

    def aligned(self, cell: Cell) -> dict[str, bytes]:
        """Return the files of a map that open over what is drawn on in a viewer, by suffix; {} where there are none."""
        return {}

    def of_one_map(self, figure: UInt8[np.ndarray, "H W 3"], cell: Cell) -> dict[str, bytes]:
        """Return the files of one map in a folder, by suffix."""
        return {".jpg": encode(figure, ".jpg"), **self.aligned(cell)}

    def portrait(self, attributions: np.ndarray) -> Any:
        """Return what is drawn in place of a map for a value for each channel (c, *spatial); None: the map is drawn."""
        return None

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
            portrait = self.portrait(result.attributions[0, k].cpu().numpy())
        return Cell(
            self.placed(maps),
            caption(answer, answer.targets[k]),
            f"{result.label or method}{discriminative} {f'at {layer}' if layer else result.source}",
            "" if status == "ok" else status,
            portrait,
            signed=signed,
        )


def caption(answer: SelectionResult, target: ExplainedTarget) -> str:
    """Return the description of a map's target, with its class's probability or else the target's value."""
    if target.is_class_score and target.index is not None:
        return f"{target.words}, {shown(answer, target.index)}"
    return f"{target.words}, {target.value:.3g}"


def shown(answer: SelectionResult, index: int) -> str:
    """Return a class's probability (or value, of a regression) as text."""
    value = answer.by_class[index]
    return f"{value:.4g}" if answer.scale == "value" else f"{100 * value:.1f} %"
