"""Placement: where the cells of a layer lie on the network's input, and maps resampled to the input accordingly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import ConfigError, closest
from camtool.functional import resize
from camtool.types import RawMap

EVEN, MEASURED, GIVEN = "even", "measured", "given"


@dataclass(frozen=True)
class Placement:
    """Where a layer's cells lie: along each spatial axis the centre of cell `index` is at pixel `scale * index + offset`.

    The centre of the first pixel is 0. An even division of `pixels` into `cells` has the scale pixels / cells and the offset
    (scale - 1) / 2, as in cv2.resize.

    Raises:
        ConfigError: if the numbers are not as many scales as offsets, finite, or a scale is not above 0.

    Example:
        >>> from camtool.placement import Placement
        >>> Placement((32.0, 32.0), (0.0, 0.0))  # ResNet: symmetric padding puts the first cell's centre on the first pixel
        Placement(scale=(32.0, 32.0), offset=(0.0, 0.0), source='given')
        >>> print(Placement.even((7, 7), (224, 224)))
        pixel = 32 * index + 15.5 (even)
    """

    scale: tuple[float, ...]
    """Pixels from one cell to the next, by axis."""
    offset: tuple[float, ...]
    """Pixel of the first cell's centre, by axis."""
    source: str = GIVEN
    """Where the numbers come from: "even", "given", "measured", or "even: …" with the reason why they were not measured."""

    def __post_init__(self) -> None:
        numbers = [*self.scale, *self.offset]
        if not self.scale or len(self.scale) != len(self.offset) or not all(map(math.isfinite, numbers)) or min(self.scale) <= 0:
            raise ConfigError(
                f"Expected a placement of as many scales, above 0, as offsets, got scale={self.scale} and offset={self.offset}; try "
                "dict(scale=(32, 32), offset=(0, 0))."
            )

    @classmethod
    def even(cls, cells: Sequence[int], pixels: Sequence[int], why: str = "") -> "Placement":
        """Return the even division of the input into cells.

        Args:
            why: the reason why it was not measured, if it was to be.
        """
        scale = tuple(size / count for size, count in zip(pixels, cells, strict=True))
        return cls(scale, tuple((step - 1) / 2 for step in scale), f"{EVEN}: {why}" if why else EVEN)

    def within(self, finer: "Placement") -> "Placement":
        """Return where these cells lie in units of another layer's cells."""
        scale = tuple(own / other for own, other in zip(self.scale, finer.scale, strict=True))
        offset = tuple((own - other) / step for own, other, step in zip(self.offset, finer.offset, finer.scale, strict=True))
        return Placement(scale, offset, self.source)

    def divides_evenly(self, cells: Sequence[int], pixels: Sequence[int]) -> bool:
        """Return whether these are the numbers of an even division."""
        even = Placement.even(cells, pixels)
        return (self.scale, self.offset) == (even.scale, even.offset)

    def __str__(self) -> str:
        axes = dict.fromkeys(f"{scale:g} * index + {offset:g}" for scale, offset in zip(self.scale, self.offset, strict=True))
        return f"pixel = {' or '.join(axes)} ({self.source})"


Placements: TypeAlias = Mapping[str, Placement]
"""Placements by layer path; layers that it lacks divide the input evenly."""


def placed(maps: RawMap, size: Sequence[int], placement: Placement | None = None) -> Float[Tensor, "n *size"]:
    """Return a layer's maps (n, *spatial) resampled to the input's size, each cell where it lies; the outer cells are extended.

    Linear along each axis in turn. Every step between cells and pixels is this function.

    Args:
        placement: where the cells lie; None: evenly, which is `camtool.functional.resize` to the last bit.

    Example:
        >>> import torch
        >>> from camtool.placement import Placement, placed
        >>> cells = torch.tensor([[0.0, 4.0]])
        >>> placed(cells, (4,)), placed(cells, (4,), Placement((2.0,), (0.0,)))
        (tensor([[0., 1., 3., 4.]]), tensor([[0., 2., 4., 4.]]))
    """
    if placement is None or placement.divides_evenly(maps.shape[1:], size):
        return resize(maps, size)
    for axis, (scale, offset, pixels) in enumerate(zip(placement.scale, placement.offset, size, strict=True), start=1):
        last = maps.shape[axis] - 1
        places = ((torch.arange(pixels, dtype=torch.float64, device="cpu") - offset) / scale).clamp(0, last)  # in cells; MPS has no float64
        before = places.floor().long()
        share = (places - before).to(maps).view(-1, *[1] * (maps.ndim - 1 - axis))
        before = before.to(maps.device)
        maps = torch.lerp(maps.index_select(axis, before), maps.index_select(axis, (before + 1).clamp(max=last)), share)
    return maps


def averaged(maps: RawMap, cells: Sequence[int], placement: Placement) -> Float[Tensor, "n *cells"]:
    """Return the means of a fine layer's maps over the cells of a coarser one; the outer fine cells are extended.

    Args:
        cells: the coarser layer's size.
        placement: where its cells lie in units of the fine cells, as of `Placement.within`.
    """
    for axis, (scale, offset, count) in enumerate(zip(placement.scale, placement.offset, cells, strict=True), start=1):
        # The mean of a piecewise constant function between two points: the difference of its integral there.
        fine = maps.shape[axis]
        centres = torch.arange(count, dtype=torch.float64, device="cpu") * scale + offset
        borders = torch.arange(fine + 1, dtype=torch.float64, device="cpu") - 0.5
        borders[0], borders[-1] = -torch.inf, torch.inf
        low, high = (centres - scale / 2).unsqueeze(1), (centres + scale / 2).unsqueeze(1)
        overlap = (torch.minimum(high, borders[1:]) - torch.maximum(low, borders[:-1])).clamp(min=0) / scale  # (coarse, fine)
        maps = torch.tensordot(maps.movedim(axis, -1), overlap.to(maps).T, dims=1).movedim(-1, axis)
    return maps


@dataclass(frozen=True)
class PlacementSetting:
    """The setting `placement` of a CAM: even, measured, or given numbers."""

    kind: str = EVEN
    """EVEN, MEASURED or GIVEN."""
    numbers: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()
    """Given numbers: a layer's path or "" for every target layer, scales, offsets; a single number is that of every axis."""
    digest: str | None = None
    """Sha256 of the network's checkpoint, under which measured numbers are kept on disk; None: they are not."""

    @property
    def paths(self) -> list[str]:
        """Paths of layers that numbers are given for."""
        return [path for path, _, _ in self.numbers if path]

    def given(self, path: str, rank: int, *, is_target: bool = True) -> Placement | None:
        """Return the given placement of a layer with this number of spatial axes; None if none is given for it.

        Raises:
            ConfigError: if it has numbers of another number of axes.
        """
        by_path = {name: (scale, offset) for name, scale, offset in self.numbers}
        numbers = by_path.get(path, by_path.get("") if is_target else None)
        if numbers is None:
            return None
        scale, offset = (_for_axes(values, rank) for values in numbers)
        if len(scale) != rank or len(offset) != rank:
            raise ConfigError(f"Expected placement numbers of {rank} spatial axes for layer '{path}', got scale={scale}, offset={offset}.")
        return Placement(scale, offset)


def build_placement(spec: Any) -> PlacementSetting:
    """Return the setting that "even", "measured", given numbers, or a dict of given numbers by layer path describes; None: even.

    Raises:
        ConfigError: if it is none of these.

    Example:
        >>> from camtool.placement import build_placement
        >>> build_placement("measured").kind
        'measured'
        >>> build_placement({"scale": 32, "offset": 0}).given("layer4", rank=2)
        Placement(scale=(32.0, 32.0), offset=(0.0, 0.0), source='given')
        >>> build_placement({"layer3": {"scale": 16, "offset": 0}}).paths
        ['layer3']
    """
    if isinstance(spec, PlacementSetting):
        return spec
    if spec is None or spec in (EVEN, MEASURED):
        return PlacementSetting(spec or EVEN)
    if isinstance(spec, Placement):
        return PlacementSetting(GIVEN, (("", spec.scale, spec.offset),))
    if isinstance(spec, str):
        raise ConfigError(f"Unknown placement '{spec}'{closest(spec, (EVEN, MEASURED))}; expected one of: {EVEN}, {MEASURED}.")
    if not isinstance(spec, Mapping) or not spec:
        raise ConfigError(_expected(spec))
    by_path = {"": spec} if {"scale", "offset"} & spec.keys() else spec
    return PlacementSetting(GIVEN, tuple((str(path), *_numbers(given)) for path, given in by_path.items()))


def _numbers(given: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the scales and offsets of one layer."""
    if isinstance(given, Placement):
        return given.scale, given.offset
    if not isinstance(given, Mapping) or given.keys() != {"scale", "offset"}:
        raise ConfigError(_expected(given))
    found = []
    for name in ("scale", "offset"):
        values = given[name] if isinstance(given[name], (list, tuple)) else [given[name]]
        if not values or any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
            raise ConfigError(_expected(given))
        found.append(tuple(map(float, values)))
    scale, offset = found
    rank = max(len(scale), len(offset))
    Placement(_for_axes(scale, rank), _for_axes(offset, rank))  # checks the numbers
    return scale, offset


def _for_axes(values: tuple[float, ...], rank: int) -> tuple[float, ...]:
    return values * rank if len(values) == 1 else values


def _expected(spec: Any) -> str:
    return (
        f"Expected a placement of '{EVEN}', '{MEASURED}', numbers such as dict(scale=(32, 32), offset=(0, 0)), in pixels by axis, or "
        f"a dict of such numbers by layer path, got {spec!r}."
    )
