"""Concepts over a picture: a colour each, and a legend of what each speaks for."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from camtool.visualization.figures import _above, _alarm, _grid, _lines, _tile

_SWATCH = 14
_LEGEND_WIDTH = 300


def colours(count: int) -> UInt8[np.ndarray, "k 3"]:
    """Return that many colours in RGB, evenly around the circle of hues."""
    hues = np.arange(count) * 180 / count  # OpenCV's circle has 180 degrees
    circle = np.stack([hues.round(), np.full(count, 255), np.full(count, 255)], axis=1).astype(np.uint8)
    return cv2.cvtColor(circle[None], cv2.COLOR_HSV2RGB)[0]


def coloured(picture: UInt8[np.ndarray, "h w 3"], maps: Float[np.ndarray, "k h w"], opacity: float) -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture (RGB) under the concepts' colours.

    Every position has the colour of the concept that is strongest there, as bright as it is strong, as in pytorch-grad-cam's
    `show_factorization_on_image`; where the maps are NaN (unseen) the picture is as it was.
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
    """Return one picture in RGB: the input, the concepts over it, and a legend, a line or more for each label."""
    entries = [_entry(label, colour) for label, colour in zip(labels, colours(len(maps)), strict=True)]
    whole = _grid([[_tile(picture, ["input"]), _tile(coloured(picture, maps, opacity), captions, remarks), np.concatenate(entries)]])
    return _above(whole, _alarm(alarm, whole.shape[1])) if alarm else whole


def _entry(label: str, colour: UInt8[np.ndarray, " 3"]) -> UInt8[np.ndarray, "k w 3"]:
    text = _lines([label], _LEGEND_WIDTH)
    swatch = np.full((len(text), _SWATCH + 4, 3), 255, dtype=np.uint8)
    swatch[3 : 3 + _SWATCH, :_SWATCH] = colour
    return np.concatenate([swatch, text], axis=1)
