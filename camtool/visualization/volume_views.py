"""Views of a volume: slices along its axes as a radiologist looks at them, with letters at the edges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from camtool.errors import OutputError, closest, times
from camtool.io.volumes import Geometry
from camtool.io.volumes.orientation import axes_towards, turned
from camtool.visualization.fonts import font_for

ANATOMICAL = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of a turned volume along which slices of this name follow each other."""
AXES = "xyz"
MARGIN = 18
"""Pixels of the black frame around a slice, where the letters stand."""

_TURNED = "LPI"  # then columns and rows of every plane run as they are displayed, and nothing needs flipping
_OF_PLANE = ((1, 2), (0, 2), (0, 1))  # axes of columns and rows of slices along axis 0, 1, 2
_LETTER = 13.0  # pixels
_GREY = (0.5, 99.5)  # percentiles of the scan that are black and white
_GAP = 7  # pixels at the marked voxel that the crosshair leaves free


@dataclass(frozen=True)
class Scan:
    """A scan ready to be drawn: grey levels with its axes in the order of display, and what its axes are called.

    With a geometry, display is radiological: axial slices are seen from the feet with the anterior at the top, coronal ones from the
    front, both with the patient's left at the picture's right; sagittal ones from the patient's left, the anterior at the left. Without
    one the axes are x, y, z as they lie, the first of a plane from left to right, the second from top to bottom, and nothing is said of
    directions.

    Example:
        >>> scan = Scan.of(np.zeros((4, 5, 6)), Geometry(np.diag([2.0, 1.0, 1.0, 1.0])))
        >>> scan.grey.shape, scan.spacing, scan.ends[0], Scan.of(np.zeros((4, 5, 6)), None).ends[0]
        ((4, 5, 6), (2.0, 1.0, 1.0), ('R', 'L'), ('', 'x'))
    """

    grey: Float[np.ndarray, "a b c"]
    """In [0, 1], by the displayed axes."""
    axes: tuple[int, ...]
    """Axis of the scan's array, by displayed axis."""
    flips: tuple[bool, ...]
    """Whether it is reversed."""
    geometry: Geometry | None
    """Of the scan's array."""

    @classmethod
    def of(cls, values: np.ndarray, geometry: Geometry | None, window: tuple[float, float] | None = None) -> "Scan":
        """Return a scan (x, y, z).

        Args:
            window: values that are black and white; None: percentiles 0.5 and 99.5 of the scan.
        """
        axes, flips = ((0, 1, 2), (False,) * 3) if geometry is None or not geometry.oriented else axes_towards(geometry, _TURNED)
        return cls(turned(_grey(values, window), axes, flips), axes, flips, geometry)

    def turned(self, values: np.ndarray) -> np.ndarray:
        """Return a map (x, y, z) with its axes in the order of display; OutputError if it has another size than the scan."""
        size = tuple(self.grey.shape[self.axes.index(axis)] for axis in range(3))
        if values.shape != size:
            raise OutputError(f"Expected a map of the scan's size {times(size)}, got {times(values.shape)}.")
        return turned(values, self.axes, self.flips)

    @property
    def oriented(self) -> bool:
        """Whether it is known where the axes lead."""
        return self.geometry is not None and self.geometry.oriented

    @property
    def ends(self) -> tuple[tuple[str, str], ...]:
        """What stands at the first and at the last voxel of each displayed axis."""
        return tuple(("", letter) for letter in AXES) if not self.oriented else (("R", "L"), ("A", "P"), ("S", "I"))

    @property
    def spacing(self) -> tuple[float, ...]:
        """Size of a voxel by displayed axis, in millimetres; 1 without a geometry."""
        own = (1.0,) * 3 if self.geometry is None else self.geometry.spacing
        return tuple(own[axis] for axis in self.axes)

    def displayed(self, index: Sequence[int]) -> tuple[int, ...]:
        """Return the displayed index of a voxel (x, y, z); its own inverse is `stored`."""
        turned = zip([index[axis] for axis in self.axes], self.grey.shape, self.flips, strict=True)
        return tuple(side - 1 - place if flip else place for place, side, flip in turned)

    def stored(self, index: Sequence[int]) -> tuple[int, ...]:
        """Return the voxel (x, y, z) of a displayed index."""
        own = [side - 1 - place if flip else place for place, side, flip in zip(index, self.grey.shape, self.flips, strict=True)]
        return tuple(int(own[self.axes.index(axis)]) for axis in range(3))

    def axis_of(self, name: str) -> int:
        """Return the displayed axis of "axial", "coronal", "sagittal", or of the array's own "x", "y", "z".

        Raises:
            OutputError: if there is no such axis, or the scan does not say which is the anatomical one.
        """
        if name in AXES and len(name) == 1:
            return self.axes.index(AXES.index(name))
        if name not in ANATOMICAL:
            expected = f"expected {', '.join(ANATOMICAL)}, or x, y, z of the array"
            raise OutputError(f"Unknown axis '{name}'{closest(name, ANATOMICAL)}; {expected}.")
        if not self.oriented:
            raise OutputError(f"Which axis is {name} is not known of a scan without orientation; name one of x, y, z.")
        return ANATOMICAL[name]

    def where(self, index: Sequence[int], axes: Sequence[int]) -> str:
        """Return where a displayed index lies along displayed axes: "L 24.0, S 18.0 mm", or "x = 3, z = 5" without a geometry."""
        own = self.stored(index)
        if self.geometry is None or not self.oriented:
            return ", ".join(f"{AXES[self.axes[axis]]} = {own[self.axes[axis]]}" for axis in axes)
        position = self.geometry.world(np.array(own, np.float64)).round(1) + 0.0  # no minus before a zero
        letters = (("R", "L"), ("A", "P"), ("S", "I"))
        return ", ".join(f"{letters[axis][int(position[axis] < 0)]} {abs(position[axis]):.1f}" for axis in axes) + " mm"


def columns_and_rows(axis: int) -> tuple[int, int]:
    """Return the displayed axes from left to right and from top to bottom of slices along a displayed axis."""
    return _OF_PLANE[axis]


def cut(values: np.ndarray, axis: int, index: int) -> np.ndarray:
    """Return a slice (rows, columns) of displayed values."""
    return np.take(values, index, axis=axis).T


def resampled(values: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Return a slice at `size` (height, width): means of areas where it becomes smaller, linear where larger; NaN where most of it is."""
    seen = np.isfinite(values)
    if not seen.all():
        weights = _resampled(seen.astype(np.float32), size)
        sums = _resampled(np.where(seen, values, 0).astype(np.float32), size)
        return np.where(weights > 0.5, sums / np.maximum(weights, 0.5), np.nan).astype(np.float32)
    return _resampled(np.ascontiguousarray(values, np.float32), size)


def in_rgb(grey: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return grey levels in [0, 1] as a picture."""
    return np.repeat((grey.clip(0, 1) * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def framed(
    picture: UInt8[np.ndarray, "h w 3"], ends: Sequence[tuple[str, str]], mark: tuple[float, float] | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a slice in a black frame with letters at its left and right, top and bottom.

    Args:
        ends: letters of the columns' axis at left and right, then of the rows' at top and bottom; "" for none.
        mark: place (across, down) in pixels where a crosshair points to; None: no crosshair.
    """
    height, width = picture.shape[:2]
    framed = np.pad(_crossed(picture, mark) if mark is not None else picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))
    image = Image.fromarray(framed)
    draw = ImageDraw.Draw(image)
    middle, half = (MARGIN + width / 2, MARGIN + height / 2), MARGIN / 2
    places = [(half, middle[1]), (width + 3 * half, middle[1]), (middle[0], half), (middle[0], height + 3 * half)]
    for place, letter in zip(places, [letter for pair in ends for letter in pair], strict=True):
        draw.text(place, letter, fill=(255, 255, 255), font=font_for(letter, _LETTER)[0], anchor="mm")
    return np.asarray(image)


def _crossed(picture: UInt8[np.ndarray, "h w 3"], mark: tuple[float, float]) -> UInt8[np.ndarray, "h w 3"]:
    crossed = picture.copy()
    across, down = (min(max(int(place), 0), side - 1) for place, side in zip(mark, picture.shape[1::-1], strict=True))
    lines: list[Any] = [(slice(0, max(down - _GAP, 0)), across), (slice(down + _GAP + 1, None), across)]
    lines += [(down, slice(0, max(across - _GAP, 0))), (down, slice(across + _GAP + 1, None))]
    for line in lines:
        crossed[line] = crossed[line] // 2 + 127  # half white, so that what is below is seen
    return crossed


def _resampled(values: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    smaller = tuple(min(own, wanted) for own, wanted in zip(values.shape, size, strict=True))
    if smaller != values.shape:
        values = cv2.resize(values, smaller[::-1], interpolation=cv2.INTER_AREA)
    return values if smaller == size else cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)


def _grey(values: np.ndarray, window: tuple[float, float] | None) -> Float[np.ndarray, "x y z"]:
    """Return values in [0, 1]; what is not finite is black, and so is a scan without contrast."""
    known = values[np.isfinite(values)]
    low, high = window or ((float(value) for value in np.percentile(known, _GREY)) if known.size else (0.0, 0.0))
    if not low < high and known.size:  # nearly all of it is alike
        low, high = float(known.min()), float(known.max())
    if not low < high:
        return np.zeros(values.shape, np.float32)
    finite = np.where(np.isfinite(values), values, low).astype(np.float32)
    return ((finite - np.float32(low)) / np.float32(high - low)).clip(0, 1)
