"""Draw concepts (deep feature factorization) over an image, each in its colour, with a legend."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from camtool.visualization.blocks import above, alarm_line, captioned, grid
from camtool.visualization.text import ALARM, INK, suitable, text_lines, warn_of_unknown_letters

_SWATCH = 14
_LEGEND_WIDTH = 300


def colours(count: int) -> UInt8[np.ndarray, "k 3"]:
    """Return `count` colours in RGB with evenly spaced hues."""
    hues = np.arange(count) * 180 / count  # OpenCV's hues are 0 to 180
    circle = np.stack([hues.round(), np.full(count, 255), np.full(count, 255)], axis=1).astype(np.uint8)
    return cv2.cvtColor(circle[None], cv2.COLOR_HSV2RGB)[0]


def coloured(picture: UInt8[np.ndarray, "*place 3"], maps: Float[np.ndarray, "k *place"], opacity: float) -> UInt8[np.ndarray, "*place 3"]:
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


@dataclass(frozen=True)
class ConceptMaps:
    """Maps of concepts over what they are drawn on, and what is said of them."""

    maps: Float[np.ndarray, "k *spatial"]
    """One for each concept, in [0, 1]; NaN outside the network's input."""
    labels: Sequence[str]
    """Of each concept, for the legend."""
    captions: Sequence[str] = ()
    """Below the figure."""
    opacity: float = 0.5
    """Of the colours, in [0, 1]."""
    remarks: Sequence[str] = ()
    """Below the captions, in red."""
    alarm: str = ""
    """Large red text below everything, "" for none."""


def concept_figure(picture: UInt8[np.ndarray, "h w 3"], concepts: ConceptMaps) -> UInt8[np.ndarray, "H W 3"]:
    """Return a figure (RGB) of the input, the concepts over it, and a legend with an entry for each of them.

    Example:
        >>> concepts = ConceptMaps(np.stack([np.eye(64), 1 - np.eye(64)]), ["diagonal", "the rest"])
        >>> concept_figure(np.zeros((64, 64, 3), dtype=np.uint8), concepts).shape[1] > 2 * 224
        True
    """
    warn_of_unknown_letters([*concepts.labels, *concepts.captions])
    over = captioned(coloured(picture, concepts.maps, concepts.opacity), concepts.captions, concepts.remarks)
    whole = grid([[captioned(picture, ["input"]), over, np.concatenate(legend(concepts.labels, _LEGEND_WIDTH))]])
    return above(whole, alarm_line(concepts.alarm, whole.shape[1])) if concepts.alarm else whole


def legend(labels: Sequence[str], width: int, *, letter: float = 0.0) -> list[UInt8[np.ndarray, "k w 3"]]:
    """Return an entry for each concept: its colour, and its label.

    Args:
        width: pixels of the label.
        letter: pixels of its letters; 0: those that suit the width.
    """
    entries = []
    for label, colour in zip(labels, colours(len(labels)), strict=True):
        text = text_lines([label], width, scale=letter / suitable(width) if letter else 1.0)
        swatch = np.full((len(text), _SWATCH + 4, 3), 255, dtype=np.uint8)
        swatch[3 : 3 + _SWATCH, :_SWATCH] = colour
        entries.append(np.concatenate([swatch, text], axis=1))
    return entries


def below_figure(concepts: ConceptMaps, width: int, *, letter: float) -> list[UInt8[np.ndarray, "k w 3"]]:
    """Return what stands below a figure: captions, remarks and alarm, in letters of this size.

    Args:
        width: pixels of the figure.
    """
    warn_of_unknown_letters([*concepts.labels, *concepts.captions])
    scale = letter / suitable(width)
    parts = [
        text_lines(texts, width, colour=colour, scale=scale)
        for texts, colour in ((concepts.captions, INK), (concepts.remarks, ALARM))
        if texts
    ]
    return [*parts, *([alarm_line(concepts.alarm, width)] if concepts.alarm else [])]
