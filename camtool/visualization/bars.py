"""Draw bars with intervals, one for each method."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Bar:
    """A mean with its interval."""

    name: str
    mean: float
    low: float
    high: float
    faint: bool = False
    """Whether it is drawn pale, as a baseline is."""


def draw_bars(bars: Sequence[Bar], name: str, *, heading: str = "") -> bytes:
    """Return a PNG with the bars below each other, each with its interval; one without a mean is empty.

    Args:
        name: of the axis.
        heading: above the bars.

    Example:
        >>> draw_bars([Bar("gradcam", 0.5, 0.4, 0.6), Bar("random", 0.2, 0.1, 0.3, faint=True)], "iou")[1:4]
        b'PNG'
    """
    figure = Figure(figsize=(7.0, 0.9 + 0.36 * max(len(bars), 1)), layout="constrained")
    canvas = FigureCanvasAgg(figure)  # no pyplot: no global state, no display
    axes = figure.add_subplot()
    for place, bar in enumerate(bars):
        if not math.isfinite(bar.mean):
            continue
        axes.barh(place, bar.mean, height=0.62, color="#c9d3de" if bar.faint else "#3d6fa5")
        ends = [[max(bar.mean - bar.low, 0.0)], [max(bar.high - bar.mean, 0.0)]]
        axes.errorbar(bar.mean, place, xerr=ends, color="black", capsize=3, linewidth=1)
    axes.set_yticks(range(len(bars)), [bar.name.replace("$", r"\$") for bar in bars], fontsize=8)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel(name.replace("$", r"\$"), fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    if heading:
        axes.set_title(heading.replace("$", r"\$"), fontsize=10)
    content = io.BytesIO()
    canvas.print_png(content)
    return content.getvalue()
