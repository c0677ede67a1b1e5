"""Draw concepts (deep feature factorization) over an image, each in its colour, with a legend."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from camtool.visualization.figures import _above, _alarm, _grid, _tile
from camtool.visualization.text import text_lines, warn_of_unknown_letters

_SWATCH = 14
_LEGEND_WIDTH = 300


def colours(count: int) -> UInt8[np.ndarray, "k 3"]:
    """Return `count` colours in RGB with evenly spaced hues."""
    hues = np.arange(count) * 180 / count  # OpenCV's hues are 0 to 180
    circle = np.stack([hues.round(), np.full(count, 255), np.full(count, 255)], axis=1).astype(np.uint8)
    return cv2.cvtColor(circle[None], cv2.COLOR_HSV2RGB)[0]


def coloured(picture: UInt8[np.ndarray, "h w 3"], maps: Float[np.ndarray, "k h w"], opacity: float) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image (RGB) blended with the colours of the concepts.

    Each pixel has the colour of its strongest concept, as bright as that concept's map in [0, 1], as in pytorch-grad-cam's
    `show_factorization_on_image`. Pixels where a map is NaN (outside the network's input) are unchanged.
    """
    strength = np.nan_to_num(maps).clip(0, 1)
    owner = strength.argmax(axis=0)
    shade = colours(len(maps))[owner] * strength.max(axis=0)[..., None]
    mixed = (picture * (1 - opacity) + shade * opacity).round().astype(np.uint8)
    unseen = np.isnan(maps).any(axis=0)
    mixed[unseen] = picture[unseen]
    return mixed


def concept_figure(
    picture: UInt8[np.ndarray, "h w 3"],
    maps: Float[np.ndarray, "k h w"],
    labels: Sequence[str],
    captions: Sequence[str],
    *,
    opacity: float,
    remarks: Sequence[str] = (),
    alarm: str = "",
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) of the input, the concepts over it, and a legend with an entry for each label.

    Args:
        maps: one for each concept, in [0, 1]; NaN outside the network's input.
        captions: below the overlay; `remarks` follow in red.
        opacity: of the colours, in [0, 1].
        alarm: large red text below the figure, "" for none.
    """
    warn_of_unknown_letters([*labels, *captions])
    entries = [_entry(label, colour) for label, colour in zip(labels, colours(len(maps)), strict=True)]
    whole = _grid([[_tile(picture, ["input"]), _tile(coloured(picture, maps, opacity), captions, remarks), np.concatenate(entries)]])
    return _above(whole, _alarm(alarm, whole.shape[1])) if alarm else whole


def _entry(label: str, colour: UInt8[np.ndarray, " 3"]) -> UInt8[np.ndarray, "k w 3"]:
    text = text_lines([label], _LEGEND_WIDTH)
    swatch = np.full((len(text), _SWATCH + 4, 3), 255, dtype=np.uint8)
    swatch[3 : 3 + _SWATCH, :_SWATCH] = colour
    return np.concatenate([swatch, text], axis=1)
