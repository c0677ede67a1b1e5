"""Draw maps in colour, alone (heatmap) and over an image (overlay)."""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from camtool.errors import OutputError, closest

COLORMAPS = {name.removeprefix("COLORMAP_").lower(): getattr(cv2, name) for name in sorted(dir(cv2)) if name.startswith("COLORMAP_")}
"""OpenCV's colour maps by name: jet, turbo, viridis, inferno, …"""

DEFAULT_COLORMAP = "jet"
DIVERGING_COLORMAP = "coolwarm"
"""The default of maps with signs: blue below 0, red above."""
DEFAULT_OPACITY = 0.5


REVERSED = "_r"
"""Ending of a colour map's name for the same colours in reverse, as in matplotlib."""


def check_style(colormap: str, opacity: float) -> None:
    """Raise OutputError for a colour map that does not exist or an opacity outside [0, 1]."""
    colours_of(colormap)
    if not 0 <= opacity <= 1:
        raise OutputError(f"--opacity must be between 0 and 1, got {opacity}.")


@cache
def colours_of(colormap: str) -> UInt8[np.ndarray, "256 3"]:
    """Return a colour map's 256 colours in RGB: OpenCV's of this name, else matplotlib's, reversed if the name ends in "_r".

    Raises:
        OutputError: if neither has it.

    Example:
        >>> colours_of("bone")[[0, 255]].tolist(), colours_of("bone_r")[0].tolist(), colours_of("coolwarm")[0].tolist()
        ([[0, 0, 0], [255, 255, 255]], [255, 255, 255], [58, 76, 192])
    """
    name = colormap.lower()
    plain = name.removesuffix(REVERSED)
    if plain in COLORMAPS:
        table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], COLORMAPS[plain])
        colours = cv2.cvtColor(table, cv2.COLOR_BGR2RGB)[0]
        return colours if plain == name else np.ascontiguousarray(colours[::-1])
    from matplotlib import colormaps  # takes a tenth of a second

    of_matplotlib = {known.lower(): known for known in colormaps}
    if name not in of_matplotlib:
        raise OutputError(
            f"Unknown colormap '{colormap}'{closest(colormap, [*COLORMAPS, *of_matplotlib])}; expected one of OpenCV's: "
            f"{', '.join(COLORMAPS)}; one of matplotlib's, such as 'coolwarm'; or one of them reversed, such as 'jet{REVERSED}'."
        )
    return np.ascontiguousarray(colormaps[of_matplotlib[name]](np.linspace(0, 1, 256), bytes=True)[:, :3])


def heatmap(saliency: Float[np.ndarray, "h w"], colormap: str = DEFAULT_COLORMAP) -> UInt8[np.ndarray, "h w 3"]:
    """Return a map in [0, 1] as colours in RGB; NaN (outside the network's input) is black.

    Example:
        >>> heatmap(np.array([[0.0, 0.5, 1.0]]), "bone").tolist()
        [[[0, 0, 0], [112, 123, 144], [255, 255, 255]]]
    """
    levels = (np.nan_to_num(saliency).clip(0, 1) * 255).round().astype(np.uint8)
    colours = colours_of(colormap)[levels]
    colours[np.isnan(saliency)] = 0
    return colours


def overlay(
    picture: UInt8[np.ndarray, "h w 3"],
    saliency: Float[np.ndarray, "h w"],
    colormap: str = DEFAULT_COLORMAP,
    opacity: float = DEFAULT_OPACITY,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image (RGB) blended with the coloured map; pixels where the map is NaN are unchanged.

    Args:
        opacity: of the map, in [0, 1]; 0 gives the image itself.

    Example:
        >>> overlay(np.zeros((1, 1, 3), dtype=np.uint8), np.ones((1, 1)), "bone", opacity=0.2).tolist()
        [[[51, 51, 51]]]
    """
    mixed = cv2.addWeighted(picture, 1 - opacity, heatmap(saliency, colormap), opacity, 0)
    unseen = np.isnan(saliency)
    mixed[unseen] = picture[unseen]
    return mixed
