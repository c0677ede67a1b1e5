"""Figures of signals: each channel over time, in the colours of a map, with the map as a strip below it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from camtool.errors import OutputError
from camtool.io.signals import Signal
from camtool.visualization.blocks import above, alarm_line
from camtool.visualization.concepts import ConceptMaps, below_figure, coloured, legend
from camtool.visualization.figures import Cell, Span, Style, scale_of
from camtool.visualization.overlay import colours_of
from camtool.visualization.text import ALARM, INK, PAPER, text_lines, warn_of_unknown_letters

LEFT, WIDTH, RIGHT = 92, 1100, 16
"""Pixels left of the time axis, of it, and right of it."""
STRIP = 10
"""Pixels that the strip of a map is high."""

_DPI = 100
_TALL, _SHORT = 130, 78  # pixels of a channel, where there are few and where there are many
_FEW = 4  # channels
_TOP, _GAP, _BOTTOM = 8, 4, 40  # pixels above a block, between its parts, and below it for the numbers of the time axis
_MOST_PLOTS = 240
_UNKNOWN = (176, 176, 176)  # outside of the network's input
_UPRIGHT = 3  # letters of a name that is written from left to right
_TEXT = 0.36  # times the size that suits a picture of this width
_LEGEND_LETTER = 15.0  # pixels


def signal_figure(
    signal: Signal,
    rows: Sequence[Sequence[Cell]],
    style: Style,
    *,
    channels: Sequence[int] | None = None,
    spans: Sequence[Span] = (),
    bar: bool = True,
    alarm: str = "",
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) with a block for each map, below each other: its captions, and the channels in its colours over time.

    Where there are more samples than pixels, each pixel's column has the range of its samples, and the colour of the highest of their maps
    (of signed maps, the one farthest from zero), so that neither peaks nor maxima are lost. The axis is WIDTH pixels from LEFT.

    Args:
        rows: cells by method; their maps have the length of the signal, and where they have channels, as many.
        style: its colour map, whether 0.5 is zero, and its scale are used.
        channels: that are drawn, by number; None: all.
        spans: of time that are shaded, beside those of the cells.
        bar: whether there is a colour bar.
        alarm: large red text below the figure, "" for none.

    Raises:
        OutputError: if there are more than 240 plots, no such channel, or a map of another size.

    Example:
        >>> signal = Signal(np.sin(np.arange(500, dtype=np.float32) / 9)[None], 250.0, ("II",))
        >>> cell = Cell(np.linspace(0, 1, 500), "sinus rhythm (0)", "gradcam at layer4")
        >>> signal_figure(signal, [[cell]], Style()).shape[1] == LEFT + WIDTH + RIGHT
        True
    """
    cells = [cell for row in rows for cell in row]
    drawn = list(range(len(signal.names))) if channels is None else list(channels)
    _check(signal, cells, drawn)
    warn_of_unknown_letters([text for cell in cells for text in (cell.title, cell.subtitle)])
    whole = np.concatenate([_captioned(_block(signal, _strips(cell, drawn, style), [*spans, *cell.spans]), cell) for cell in cells])
    whole = above(whole, scale_of(style, whole.shape[1])) if bar else whole
    return above(whole, alarm_line(alarm, whole.shape[1])) if alarm else whole


def concept_signal(signal: Signal, concepts: ConceptMaps) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) of the channels over time in the colours of concepts, as bright as these are strong, and a legend.

    Args:
        concepts: maps (k, t), or (k, channels, t); their opacity is not used.

    Raises:
        OutputError: if there are more than 240 channels, or the maps have another size.

    Example:
        >>> signal = Signal(np.sin(np.arange(500, dtype=np.float32) / 9)[None], 250.0, ("II",))
        >>> concepts = ConceptMaps(np.stack([np.linspace(0, 1, 500), np.linspace(1, 0, 500)]), ["late", "early"])
        >>> concept_signal(signal, concepts).shape[1] == LEFT + WIDTH + RIGHT
        True
    """
    channels = list(range(len(signal.names)))
    _check(signal, [Cell(one, "", "") for one in concepts.maps[:1]], channels)
    strips = []
    for number in channels:
        own = concepts.maps if concepts.maps.ndim == 2 else concepts.maps[:, number]
        columns = np.stack([columns_of(one.astype(np.float64))[1] for one in own])
        unknown = np.isnan(columns).any(axis=0)
        pixels = coloured(np.zeros((WIDTH, 3), np.uint8), columns, 1.0)
        pixels[unknown] = _UNKNOWN
        strips.append(_Strip(number, pixels, concepts.maps.ndim == 3 or number == channels[-1]))
    figure = _block(signal, strips, ())
    width = figure.shape[1]
    entries = legend(concepts.labels, width // 2, letter=_LEGEND_LETTER)
    entries = [np.pad(entry, ((0, 0), (0, width - entry.shape[1]), (0, 0)), constant_values=PAPER[0]) for entry in entries]
    return np.concatenate([figure, *entries, *below_figure(concepts, width, letter=_LEGEND_LETTER)])


def columns_of(values: Float[np.ndarray, "t"], width: int = WIDTH) -> tuple[Float[np.ndarray, "width"], Float[np.ndarray, "width"]]:
    """Return (lowest, highest) of the samples in each of `width` columns of pixels; NaN where a column has none but NaN.

    A column that has no sample of its own has the one that covers its middle.

    Example:
        >>> [part.tolist() for part in columns_of(np.array([0.0, 5.0, -1.0, 2.0]), 2)]
        [[0.0, -1.0], [5.0, 2.0]]
    """
    count = len(values)
    if count < width:
        taken = values[((np.arange(width) + 0.5) * count / width).astype(int)]
        return taken, taken
    starts = np.ceil(np.arange(width) * count / width - 0.5).astype(int)  # samples whose middle is in the column
    return np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)


def _check(signal: Signal, cells: Sequence[Cell], channels: Sequence[int]) -> None:
    count, plots = len(signal.names), len(cells) * len(channels)
    if not cells or not channels or not all(0 <= channel < count for channel in channels):
        raise OutputError(f"Expected maps, and channels from 0 to {count - 1}, got {len(cells)} maps and channels {list(channels)}.")
    if plots > _MOST_PLOTS:
        raise OutputError(
            f"A figure of {len(cells)} maps over {len(channels)} channels has {plots} plots; expected at most {_MOST_PLOTS}. "
            "Choose some of the channels, by --channels."
        )
    for cell in cells:
        if cell.saliency.shape not in ((signal.length,), signal.values.shape):
            raise OutputError(
                f"Expected maps of shape ({signal.length},) or {signal.values.shape}, as the signal, got {cell.saliency.shape} "
                f"({cell.subtitle})."
            )


@dataclass(frozen=True)
class _Strip:
    """A channel's colours along the axis, and whether they stand as a strip below it."""

    channel: int
    colours: UInt8[np.ndarray, "WIDTH 3"]
    is_drawn: bool


def _strips(cell: Cell, channels: Sequence[int], style: Style) -> list[_Strip]:
    """Return a channel's strip each: of a map for all channels it is drawn once, below the last one."""
    by_channel = cell.saliency.ndim == 2
    maps = [cell.saliency[channel] if by_channel else cell.saliency for channel in channels]
    return [
        _Strip(channel, _colours(_columns_of_map(saliency, style), style), by_channel or number == len(channels) - 1)
        for number, (channel, saliency) in enumerate(zip(channels, maps, strict=True))
    ]


def _block(signal: Signal, strips: Sequence[_Strip], spans: Sequence[Span]) -> UInt8[np.ndarray, "h W 3"]:
    height = _TALL if len(strips) <= _FEW else _SHORT
    tops = _TOP + np.cumsum([0, *(height + _GAP + strip.is_drawn * (STRIP + _GAP) for strip in strips)])
    total = int(tops[-1]) + _BOTTOM
    figure = Figure(figsize=((LEFT + WIDTH + RIGHT) / _DPI, total / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)  # no pyplot: no global state, no display
    for number, (strip, top) in enumerate(zip(strips, tops[:-1], strict=True)):
        place = (LEFT / (LEFT + WIDTH + RIGHT), 1 - (top + height) / total, WIDTH / (LEFT + WIDTH + RIGHT), height / total)
        axes = figure.add_axes(place)
        _draw(axes, signal, strip)
        _mark(axes, spans, labelled=number == 0)
        _time_axis(axes, signal, shown=number == len(strips) - 1, below=(STRIP + _GAP) * strip.is_drawn)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of names of channels; captions have fonts for all scripts
        canvas.draw()
    picture = np.array(canvas.buffer_rgba())[..., :3]
    for strip, top in zip(strips, tops[:-1], strict=True):
        if strip.is_drawn:  # in place of the pixels themselves: no library rounds where they lie
            start = int(top) + height + _GAP
            picture[start : start + STRIP, LEFT : LEFT + WIDTH] = strip.colours
    return picture


def _captioned(picture: UInt8[np.ndarray, "h W 3"], cell: Cell) -> UInt8[np.ndarray, "H W 3"]:
    width = picture.shape[1]
    parts = [text_lines([text], width, colour=INK, scale=_TEXT) for text in (cell.title, cell.subtitle) if text]
    if cell.remark:
        parts.append(text_lines([cell.remark], width, colour=ALARM, scale=_TEXT))
    return np.concatenate([*parts, picture])


def _columns_of_map(saliency: Float[np.ndarray, "t"], style: Style) -> Float[np.ndarray, "width"]:
    lowest, highest = columns_of(saliency.astype(np.float64))
    if not style.signed:
        return highest
    return np.where(highest - 0.5 >= 0.5 - lowest, highest, lowest)


def _colours(saliency: Float[np.ndarray, "n"], style: Style) -> UInt8[np.ndarray, "n 3"]:
    colours = colours_of(style.colormap)[(np.nan_to_num(saliency).clip(0, 1) * 255).round().astype(np.uint8)]
    colours[np.isnan(saliency)] = _UNKNOWN
    return colours


def _draw(axes: Axes, signal: Signal, strip: _Strip) -> None:
    """Draw a channel as a piece of line for each sample, or for each column of pixels, whichever are fewer."""
    channel, columns = strip.channel, strip.colours
    values = signal.values[channel].astype(np.float64)
    step = 1 / (signal.rate or 1.0)
    begin, end = signal.start - step / 2, signal.start + (signal.length - 0.5) * step  # of the cells that samples are the middles of
    if signal.length < WIDTH:
        first, second, centres = values, values, signal.times
        own = columns[((np.arange(signal.length) + 0.5) * WIDTH / signal.length).astype(int)]
    else:
        lowest, highest = columns_of(values)
        odd = np.arange(WIDTH) % 2 == 1  # up and down in turn: pieces meet at the nearer ends
        first, second = np.where(odd, highest, lowest), np.where(odd, lowest, highest)
        centres, own = begin + (np.arange(WIDTH) + 0.5) * (end - begin) / WIDTH, columns
    half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else step / 2
    before = np.concatenate([first[:1], (second[:-1] + first[1:]) / 2])
    after = np.concatenate([before[1:], second[-1:]])
    across = np.stack([centres - half, centres, centres, centres + half], axis=1)
    points = np.stack([across, np.stack([before, first, second, after], axis=1)], axis=2)
    axes.add_collection(LineCollection(list(points), colors=[(0.2, 0.2, 0.2, 0.45)], linewidths=2.2), autolim=False)
    axes.add_collection(LineCollection(list(points), colors=own / 255, linewidths=1.5), autolim=False)
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 1.0
    axes.set_xlim(begin, end)
    axes.set_ylim(low - margin, high + margin)
    unit = f" ({signal.units[channel]})" if signal.units and signal.units[channel] else ""
    axes.set_ylabel(
        f"{signal.names[channel]}{unit}".replace("$", r"\$"),
        fontsize=8,
        rotation="vertical" if len(signal.names[channel]) > _UPRIGHT else "horizontal",
        ha="center",
    )
    axes.yaxis.set_label_coords(-62 / WIDTH, 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=7)


def _mark(axes: Axes, spans: Sequence[Span], *, labelled: bool) -> None:
    for span in spans:
        axes.axvspan(span.start, span.end, facecolor="0.5", alpha=0.18, linewidth=0, zorder=0)
        for edge in (span.start, span.end):
            axes.axvline(edge, color="0.35", linewidth=0.8, linestyle="--", zorder=0)
        if labelled and span.label:
            text = span.label.replace("$", r"\$")
            axes.text(span.start, 0.97, f" {text}", transform=axes.get_xaxis_transform(), fontsize=7, va="top", clip_on=True)


def _time_axis(axes: Axes, signal: Signal, *, shown: bool, below: int) -> None:
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.ticklabel_format(axis="both", useOffset=False)
    axes.tick_params(axis="x", labelbottom=shown, length=3 if shown else 0, pad=3 + below * 72 / _DPI)
    if shown:
        axes.set_xlabel("time (s)" if signal.rate else "sample", fontsize=8, labelpad=2)
