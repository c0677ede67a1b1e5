"""Draw curves with bands, one for each method."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Band:
    """A curve with where it lies."""

    name: str
    mean: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    faint: bool = False
    """Whether it is dashed and has no band, as a baseline."""


def draw_bands(across: Float[np.ndarray, " n"], bands: Sequence[Band], across_name: str, up_name: str) -> bytes:
    """Return a PNG with the curves in one plot.

    Example:
        >>> import numpy as np
        >>> share, falling = np.linspace(0, 1, 5), np.linspace(1, 0, 5)
        >>> draw_bands(share, [Band("gradcam", falling, falling - 0.1, falling + 0.1)], "share deleted", "probability")[1:4]
        b'PNG'
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)  # no pyplot: no global state, no display
    axes = figure.add_subplot()
    for band in bands:
        style = {"linestyle": "--", "linewidth": 1.1} if band.faint else {"linewidth": 1.8}
        (line,) = axes.plot(across, band.mean, label=f" {band.name}".replace("$", r"\$"), **style)
        if not band.faint:
            axes.fill_between(across, band.low, band.high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xlabel(across_name)
    axes.set_ylabel(up_name)
    axes.grid(alpha=0.3)
    if bands:
        axes.legend(fontsize=8)
    content = io.BytesIO()
    canvas.print_png(content)
    return content.getvalue()
