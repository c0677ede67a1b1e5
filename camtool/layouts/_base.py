"""What a layout is, and the arithmetic of grids that all of them share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from torch import Tensor

from camtool.types import Maps


class Reading(NamedTuple):
    """How a layout reads a tensor, in words for people and programs."""

    axes: str
    """Its axes in order, a letter each: n samples, c channels, d, h, w of a grid, l tokens."""
    extra_tokens: int = 0
    """Leading tokens that are no positions."""

    def __str__(self) -> str:
        return f"{self.axes} + {self.extra_tokens}" if self.extra_tokens else self.axes


class Layout(ABC):
    """Turns a target layer's tensor into maps (n, c, *spatial); the same call serves activations and gradients."""

    @abstractmethod
    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        """Return why a tensor of `shape` cannot be read so, or None if it can.

        `given` is true where the user named this layout: then only the impossible is refused, not the unlikely.
        """

    @abstractmethod
    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        """Return maps (n, c, *spatial), spatial axes in the order of the input's."""

    @abstractmethod
    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        """Return the tensor of which `to_maps` makes these maps; what is no position (extra tokens) is that of `like`.

        `like` is a tensor of the layer with one sample, or as many as the maps have.
        """

    @abstractmethod
    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        """Return the axes and the extra tokens that this layout sees in a tensor of `shape`, which it fits."""


def describe(tensor: Tensor) -> str:
    """Return the shape in words for messages."""
    return f"An output of shape {tuple(tensor.shape)}"


@cache
def stride_grids(input_size: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Return every grid that one whole-number stride makes of the input, with and without a padded last cell, and how unusual it is.

    0: the stride is a power of two that divides every axis, as in almost every network; 1: another that does; 2: one that does not.
    Axes before the plane are divided without a rest: of 3072 channels a video could else be made at every seventh position.
    """
    grids: dict[tuple[int, ...], int] = {}
    for stride in range(1, max(input_size) + 1):
        if any(size % stride for size in input_size[:-2]):
            continue
        divides = all(size % stride == 0 for size in input_size)
        rank = (0 if stride.bit_count() == 1 else 1) if divides else 2
        for grid in (tuple(max(size // stride, 1) for size in input_size), tuple(-(-size // stride) for size in input_size)):
            grids[grid] = min(rank, grids.get(grid, rank))
    return grids


def has_one_scale(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Return whether one real stride explains every axis to within a cell (unpadded convolutions lose border cells)."""
    lowest = max(size / (cells + 1) for size, cells in zip(input_size, grid, strict=True))
    highest = min(size / max(cells - 1, 1e-9) for size, cells in zip(input_size, grid, strict=True))
    return lowest <= highest


def has_one_scale_in_plane(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Return whether one real stride explains the last two axes, and a whole-number one each of them all (video: time is apart)."""
    return has_one_scale(grid[-2:], input_size[-2:]) and has_whole_strides(grid, input_size)


def has_whole_strides(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Return whether each axis alone comes from a whole-number stride (spectrograms and volumes differ by axis)."""
    return all((cells,) in stride_grids((size,)) for size, cells in zip(input_size, grid, strict=True))
