"""VolumePreprocess: a scan to a network's input by a description, and maps over the input back to the scan's voxels."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import ConfigError, ImageError, closest, times
from camtool.io.volumes import Geometry, Volume
from camtool.io.volumes.orientation import axes_towards, check_orientation
from camtool.models.sources.volume_grid import VolumeGrid
from camtool.models.sources.volume_intensities import Intensities, number

KEYS = (
    *("orientation", "axes", "spacing", "size", "pad", "crop", "pad_value"),
    *("fill", "window", "percentiles", "mean", "std", "channels"),
)
"""Keys that the `preprocess` dict of a network on volumes may have."""

_MOST_VOXELS = 2**30  # of an input: 4 GB; more is a wrong unit of spacing
_WHOLE = 1e-3  # voxels; headers hold spacings in float32, so that 100 voxels may seem to be 100.00001


class VolumePreprocess:
    """Preprocessing of volumes, described by a dict; all keys are optional, and an empty one feeds the array as it lies.

    Steps in this order, whatever the order of the keys; three numbers stand for the axes of the network's input:

    - `orientation`: where the array's axes x, y, z are to lead, "RAS", "LPS" …: axes are permuted and flipped, oblique ones by their
      nearest direction. Letters name where an axis leads *to*, as nibabel's.
    - `axes`: "zyx" gives the network z first; "xyz" is the default.
    - `spacing`: millimetres of a voxel, one number or three; at least the whole scan is covered, about its centre.
    - `size`: voxels, one number or three; the borders of the volume stay where they are.
    - `pad`: at least so many voxels; then `crop`: exactly so many, both about the centre.
    - `fill` in place of voxels that are NaN or infinite, which are refused without it; then `window` (low, high), or `percentiles`
      (low, high) of the scan, become [0, 1], clipped; then (value - `mean`) / `std`: numbers, one for each channel or one for all;
      "volume" for both: those of the scan; "nonzero": those of its voxels that are not zero, and zero stays zero. Statistics are of the
      scan before it is resampled.
    - `channels`: the volume is repeated so often. `pad_value`: of padded voxels, in the input; by default what the scan's lowest
      value is there.

    All resampling is one trilinear interpolation at the centres of voxels, without smoothing; beyond the outer centres the border is
    extended.

    Raises:
        ConfigError: if a key is misspelt or a value invalid.

    Example:
        >>> preprocess = VolumePreprocess({"orientation": "RAS", "axes": "zyx", "spacing": 2, "window": (0, 100)})
        >>> scan = Volume(np.full((4, 6, 8), 50), Geometry(np.diag([-1.0, 1.0, 2.0, 1.0])), "scan")
        >>> inputs = preprocess(scan)
        >>> inputs.shape, inputs.unique()
        (torch.Size([1, 1, 8, 3, 2]), tensor([0.5000]))
        >>> preprocess.to_scan(inputs[0, 0], scan).shape
        (4, 6, 8)
    """

    def __init__(self, spec: Any) -> None:
        if not isinstance(spec, Mapping):
            raise ConfigError(f"'preprocess' must be a dict such as dict(orientation='RAS', spacing=1.0, size=96), got {spec!r}.")
        for key in spec:
            if key not in KEYS:
                raise ConfigError(f"'preprocess' has no key '{key}'{closest(str(key), KEYS)}; for volumes expected {', '.join(KEYS)}.")
        self.spec = dict(spec)
        """The description."""
        self._orientation = (
            check_orientation(spec["orientation"], "preprocess.orientation") if spec.get("orientation") is not None else None
        )
        self._axes = _axes(spec.get("axes"))
        self._spacing = _spacing(spec.get("spacing"))
        self._size, self._pad, self._crop = (_sizes(spec, key) for key in ("size", "pad", "crop"))
        self._pad_value = number(spec, "pad_value")
        self.channels = _channels(spec.get("channels"))
        """Number of channels of the input."""
        self._intensities = Intensities.of(spec, self.channels)

    def __call__(self, volume: Volume) -> Float[Tensor, "1 c *spatial"]:
        """Return the network's input, float32 on the CPU.

        Raises:
            ImageError: if the scan lacks the geometry that a step needs, has voxels that are not finite or no contrast, is smaller than
                `crop`, or becomes too large.
        """
        grid = self.grid(volume)
        scaled = torch.from_numpy(self._intensities.scaled(volume))
        mean, std = (torch.tensor(values).view(-1, *[1] * scaled.ndim) for values in (self._intensities.mean, self._intensities.std))
        inputs = (grid.sampled(scaled)[None] - mean) / std
        padding = (scaled.min() - mean) / std if self._pad_value is None else torch.full_like(mean, self._pad_value)
        for axis, outside in enumerate(grid.beyond, start=1):
            inputs.movedim(axis, 1)[:, outside] = padding
        return inputs[None].contiguous()

    def affine(self, volume: Volume) -> Float[np.ndarray, "4 4"]:
        """Return the matrix from an index of the network's input (spatial axes, in its order) to a voxel (x, y, z) of the scan.

        Times the affine of the scan's geometry it leads to millimetres, for maps that are written at the input's resolution.
        """
        return self.grid(volume).affine

    def to_scan(self, saliency: Float[Tensor, "*spatial"] | Float[np.ndarray, "*spatial"], volume: Volume) -> Float[np.ndarray, "x y z"]:
        """Return a map of the input's size at the voxels of the scan, in float32: every geometric step undone, NaN outside of the input.

        Trilinear at the centres of voxels; what is within half a voxel beyond the input's outer centres has their value.

        Raises:
            ImageError: if the map has another size than the input of this scan.
        """
        grid = self.grid(volume)
        values = (
            torch.as_tensor(np.ascontiguousarray(saliency) if isinstance(saliency, np.ndarray) else saliency)
            .detach()
            .to("cpu", torch.float32)
        )
        if tuple(values.shape) != grid.sizes:
            raise ImageError(
                f"Expected a map of the size {times(grid.sizes)} of the network's input for '{volume.name}', got {times(values.shape)}; "
                "place a layer's map on the input first."
            )
        return grid.returned(values).numpy()

    def grid(self, volume: Volume) -> VolumeGrid:
        """Return where the voxels of the input lie on this scan.

        Raises:
            ImageError: if the scan lacks the geometry that a step needs, is smaller than `crop`, or becomes too large.
        """
        grid = VolumeGrid.of(volume.shape)
        if self._orientation is not None:
            axes, flips = axes_towards(_geometry(volume, "orientation"), self._orientation)
            grid = grid.permuted(axes).flipped(flips)
        grid = grid.permuted(self._axes)
        if self._spacing is not None:
            own = _geometry(volume, "spacing").spacing
            factors = [wanted / own[axis] for wanted, axis in zip(self._spacing, grid.axes, strict=True)]
            sizes = [max(math.ceil(size / factor - _WHOLE), 1) for size, factor in zip(grid.sizes, factors, strict=True)]
            grid = _checked(grid, sizes, volume.name).resized(sizes, factors)
        if self._size is not None:
            grid = _checked(grid, self._size, volume.name).resized(self._size)
        if self._pad is not None:
            sizes = [max(size, least) for size, least in zip(grid.sizes, self._pad, strict=True)]
            grid = _checked(grid, sizes, volume.name).windowed(
                sizes, [-((new - old) // 2) for new, old in zip(sizes, grid.sizes, strict=True)]
            )
        if self._crop is not None:
            if any(part > size for part, size in zip(self._crop, grid.sizes, strict=True)):
                raise ImageError(
                    f"preprocess.crop of {times(self._crop)} voxels is larger than '{volume.name}', which has {times(grid.sizes)} at this "
                    f"step; add pad={self._crop} to preprocess, or crop less."
                )
            grid = grid.windowed(self._crop, [size // 2 - part // 2 for size, part in zip(grid.sizes, self._crop, strict=True)])
        return grid


def _geometry(volume: Volume, key: str) -> Geometry:
    if volume.geometry is None or (key == "orientation" and not volume.geometry.oriented):
        raise ImageError(
            f"preprocess.{key} needs a scan that says where its voxels lie, got '{volume.name}', which does not; give its spacing or "
            f"another format, or leave {key} out."
        )
    return volume.geometry


def _checked(grid: VolumeGrid, sizes: Any, name: str) -> VolumeGrid:
    if math.prod(sizes) > _MOST_VOXELS:
        raise ImageError(
            f"'{name}' would become an input of {times(sizes)} voxels; expected at most {_MOST_VOXELS}. "
            "Is preprocess.spacing in millimetres?"
        )
    return grid


def _axes(value: Any) -> tuple[int, int, int]:
    if value is None:
        return 0, 1, 2
    if not isinstance(value, str) or sorted(value) != ["x", "y", "z"]:
        raise ConfigError(f"'preprocess.axes' must be the letters x, y, z in the order in which the network takes them, got {value!r}.")
    x, y, z = ("xyz".index(letter) for letter in value)
    return x, y, z


def _spacing(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    if len(numbers) != 3 or not all(type(step) in (int, float) and math.isfinite(step) and step > 0 for step in numbers):
        raise ConfigError(f"'preprocess.spacing' must be millimetres above 0, one number or three, got {value!r}.")
    return tuple(map(float, numbers))


def _sizes(spec: Mapping[str, Any], key: str) -> tuple[int, ...] | None:
    value = spec.get(key)
    if value is None:
        return None
    sizes = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    if len(sizes) != 3 or not all(type(size) is int and size > 0 for size in sizes):
        raise ConfigError(f"'preprocess.{key}' must be voxels above 0, one whole number or three, got {value!r}.")
    return tuple(sizes)


def _channels(value: Any) -> int:
    if value is None:
        return 1
    if type(value) is not int or value < 1:
        raise ConfigError(f"'preprocess.channels' must be how often the volume is repeated, a whole number above 0, got {value!r}.")
    return value
