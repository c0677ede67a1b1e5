"""Draw metrics by epoch."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw_curves(panels: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]) -> bytes:
    """Return a PNG with a plot for each key of `panels` ("loss"), with a line for each of its curves, {label: [(epoch, value), …]}."""
    figure = Figure(figsize=(5 * max(len(panels), 1), 3.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)  # no pyplot: no global state, no display
    for number, (name, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for label, points in curves.items():
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, marker="o", markersize=3, linewidth=1.2, label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name} (%)" if name == "accuracy" else name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    content = io.BytesIO()
    canvas.print_png(content)
    return content.getvalue()
