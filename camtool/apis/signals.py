"""Signals as samples: loaded from paths and arrays, drawn over time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from camtool.apis.canvas import ANY_FIGURE, Canvas, MapScale
from camtool.apis.named import Named
from camtool.apis.selection_result import SelectionResult
from camtool.errors import ImageError
from camtool.io.images import FORMATS
from camtool.io.signals import Signal, SignalReading, read_signal
from camtool.visualization.captioned_sheet import CaptionedPicture
from camtool.visualization.concepts import ConceptMaps
from camtool.visualization.figures import Cell, Span, Style

if TYPE_CHECKING:
    from camtool.models.sources.signal_preprocessing import SignalPreprocess


@dataclass(frozen=True)
class NamedSignal(Named):
    """A signal, and its name in reports and file names."""

    signal: Signal

    @property
    def name(self) -> str:  # type: ignore[override]  # of what it holds
        """The file's path; "signal_0" without a file."""
        return self.signal.name

    @property
    def content(self) -> Signal:
        """What the network's preprocessing takes."""
        return self.signal

    def canvas(self, inputs: Tensor, preprocess: Any, *, original: bool = False) -> "SignalCanvas":
        """Return what maps are drawn on: always the record, not the network's input."""
        return SignalCanvas(self.signal, preprocess)

    def facts(self) -> dict[str, Any]:
        """Return the time of each value, and what else tells where a map lies, as arrays."""
        signal = self.signal
        rate = {} if signal.rate is None else {"sampling_rate": np.array(signal.rate)}
        return {"time": signal.times, "channels": np.array(signal.names, dtype=np.str_), **rate}


def load_signal(content: Any, number: int, reading: SignalReading) -> NamedSignal:
    """Return a path, a Signal, or an array or a tensor (t,) or (channels, t) as a named signal; without a file "signal_0".

    Args:
        reading: how files are read; of arrays its rate holds.

    Raises:
        ImageError: if the file cannot be read, or the array is no signal.

    Example:
        >>> import numpy as np
        >>> from camtool.io.signals import SignalReading
        >>> from camtool.apis.signals import load_signal
        >>> record = load_signal(np.zeros((2, 500)), 0, SignalReading(rate=250.0))
        >>> record.name, record.signal.values.shape, record.signal.duration
        ('signal_0', (2, 500), 2.0)
    """
    if isinstance(content, NamedSignal):
        return content
    if isinstance(content, Signal):
        return NamedSignal(content)
    if isinstance(content, (str, Path)):
        return NamedSignal(read_signal(Path(content).expanduser(), reading))
    if isinstance(content, Tensor):
        content = content.detach().cpu().float().numpy()
    if not isinstance(content, np.ndarray) or content.ndim not in (1, 2) or content.dtype.kind not in "biuf":
        what = f"values of shape {content.shape}" if isinstance(content, np.ndarray) else f"a {type(content).__name__}"
        raise ImageError(f"Expected a signal: a path, a Signal, or numbers (t,) or (channels, t); got {what}.")
    values = np.atleast_2d(content).astype(np.float32)
    return NamedSignal(Signal(values, reading.rate, tuple(map(str, range(len(values)))), name=f"signal_{number}"))


class SignalCanvas(Canvas):
    """The record that maps are drawn on.

    Args:
        signal: the record.
        preprocess: of the network; it places maps.
    """

    def __init__(self, signal: Signal, preprocess: "SignalPreprocess") -> None:
        self._signal, self._preprocess = preprocess.chosen(signal), preprocess

    formats = dict.fromkeys(FORMATS, ANY_FIGURE)

    def placed(self, maps: np.ndarray) -> np.ndarray:
        """Return a map over the network's input on the record's samples (t,); NaN outside the network's input."""
        return self._preprocess.to_signal(maps, self._signal)

    def cell(
        self, answer: SelectionResult, method: str, k: int, layer: str = "", *, signed: bool = False, scale: MapScale | None = None
    ) -> Cell:
        """Return a map with its captions; one for each channel, on one scale, where the method tells the input's channels apart."""
        spans = [Span(begin, end) for begin, end in answer.targets[k].spans]
        cell = replace(super().cell(answer, method, k, layer, signed=signed, scale=scale), spans=spans)
        if scale is not None:
            return cell
        if self._preprocess.spectrogram is not None:  # the mean over the frequencies is as faint as a sound is narrow
            cell = replace(cell, saliency=_brightest(cell.saliency, 0.5 if signed else 0.0))
        maps = answer.results[method].channel_maps(layer, signed=signed)
        if maps is None:
            return cell
        by_channel = maps[0, k].float()
        if by_channel.ndim > 2 and len(by_channel) == 1 and self._preprocess.spectrogram is None:  # channels as rows of one
            by_channel = by_channel[0]
        placed = self.placed((0.5 + by_channel / 2 if signed else by_channel).cpu().numpy())
        saliency = placed if self._preprocess.spectrogram is None else _brightest(placed, 0.5 if signed else 0.0)
        remark = "" if signed and by_channel.amin() < 0 else cell.remark  # the map may be of magnitudes
        return replace(cell, saliency=saliency, subtitle=f"{cell.subtitle}, each channel its own, on one scale", remark=remark)

    def figure(self, rows: Sequence[Sequence[Cell]], style: Style, *, alarm: str = "") -> UInt8[np.ndarray, "H W 3"]:
        """Return the channels under each other over time, coloured by each cell's map."""
        from camtool.visualization.signals import signal_figure  # matplotlib takes half a second, and a run draws nothing

        return signal_figure(self._signal, rows, style, alarm=alarm)

    def concepts(self, concepts: ConceptMaps) -> UInt8[np.ndarray, "H W 3"]:
        """Return the channels over time in the colours of the concepts, and a legend."""
        from camtool.visualization.signals import concept_signal

        return concept_signal(self._signal, concepts)

    def tile(self, cell: Cell, style: Style, captions: tuple[str, ...], remark: str = "") -> CaptionedPicture:
        """Return the channels over time, without a colour bar."""
        from camtool.visualization.signals import signal_figure

        return CaptionedPicture(signal_figure(self._signal, [[cell]], style, bar=False), captions, remark, is_figure=True)


def _brightest(saliency: np.ndarray, middle: float = 0.0) -> np.ndarray:
    """Return a map whose largest distance from `middle` is that of 1; of a map that is `middle` everywhere the map itself."""
    largest = np.nanmax(np.abs(saliency - middle), initial=0.0)
    return middle + (saliency - middle) * ((1 - middle) / largest) if largest > 0 else saliency
