"""Draw maps in colour, alone (heatmap) and over an image (overlay)."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from camtool.errors import OutputError, closest

COLORMAPS = {name.removeprefix("COLORMAP_").lower(): getattr(cv2, name) for name in sorted(dir(cv2)) if name.startswith("COLORMAP_")}
"""OpenCV's colour maps by name: jet, turbo, viridis, inferno, …"""

DEFAULT_COLORMAP = "jet"
DEFAULT_OPACITY = 0.5


def check_style(colormap: str, opacity: float) -> None:
    """Raise OutputError for a colour map that does not exist or an opacity outside [0, 1]."""
    if colormap.lower() not in COLORMAPS:
        raise OutputError(f"Unknown colormap '{colormap}'{closest(colormap, COLORMAPS)}; expected one of: {', '.join(COLORMAPS)}.")
    if not 0 <= opacity <= 1:
        raise OutputError(f"--opacity must be between 0 and 1, got {opacity}.")


def heatmap(saliency: Float[np.ndarray, "h w"], colormap: str = DEFAULT_COLORMAP) -> UInt8[np.ndarray, "h w 3"]:
    """Return a map in [0, 1] as colours in RGB; NaN (outside the network's input) is black.

    Example:
        >>> heatmap(np.array([[0.0, 0.5, 1.0]]), "bone").tolist()
        [[[0, 0, 0], [112, 123, 144], [255, 255, 255]]]
    """
    levels = (np.nan_to_num(saliency).clip(0, 1) * 255).round().astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, COLORMAPS[colormap.lower()]), cv2.COLOR_BGR2RGB)
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
