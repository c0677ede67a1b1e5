"""Draw scatter plots, each point in the colour of its class."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_MOST_CLASSES = 10  # with a colour and a line in the legend each; more are drawn in one colour


@dataclass(frozen=True)
class Scatter:
    """One plot: points, and the names of their axes."""

    across: Float[np.ndarray, " n"]
    up: Float[np.ndarray, " n"]
    across_name: str
    up_name: str
    title: str = ""


def draw_scatters(plots: Sequence[Scatter], classes: Sequence[str], *, heading: str = "") -> bytes:
    """Return a PNG with the plots side by side.

    Args:
        classes: of each point its class, in the legend; of more than ten classes all have one colour.
        heading: above the plots.

    Example:
        >>> import numpy as np
        >>> plot = Scatter(np.arange(3.0), np.arange(3.0), "sum of the map", "logit", "r = 1")
        >>> draw_scatters([plot], ["cat", "dog", "cat"])[1:4]
        b'PNG'
    """
    names = list(dict.fromkeys(classes))
    if len(names) > _MOST_CLASSES:
        names, classes = [""], [""] * len(classes)
    figure = Figure(figsize=(5.2 * len(plots), 4.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)  # no pyplot: no global state, no display
    members = {name: np.array([own == name for own in classes], dtype=bool) for name in sorted(names)}
    for number, plot in enumerate(plots, start=1):
        axes = figure.add_subplot(1, len(plots), number)
        for name, chosen in members.items():
            axes.scatter(plot.across[chosen], plot.up[chosen], s=9, alpha=0.6, linewidths=0, label=_plain(name))
        axes.set_xlabel(_plain(plot.across_name))
        axes.set_ylabel(_plain(plot.up_name))
        axes.set_title(_plain(plot.title), fontsize=10)
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize=7, markerscale=1.5)
    if heading:
        figure.suptitle(_plain(heading), fontsize=11)
    content = io.BytesIO()
    canvas.print_png(content)
    return content.getvalue()


def _plain(text: str) -> str:
    """Return a text in which matplotlib finds no formula, and whose first letter does not keep it out of a legend."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
