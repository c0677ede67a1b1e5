"""What a layout is, and the arithmetic of grids that all of them share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache

from torch import Tensor

from camtool.types import Maps


class Layout(ABC):
    """Turns a target layer's tensor into maps (n, c, *spatial); the same call serves activations and gradients."""

    @abstractmethod
    def misfit(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        """Return why a tensor of `shape` cannot be read so, or None if it can.

        `given` is true where the user named this layout: then only the impossible is refused, not the unlikely.
        """

    @abstractmethod
    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        """Return maps (n, c, *spatial), spatial axes in the order of the input's."""


def describe(tensor: Tensor) -> str:
    """Return the shape in words for messages."""
    return f"An output of shape {tuple(tensor.shape)}"


@cache
def stride_grids(input_size: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Return every grid that one whole-number stride makes of the input, with and without a padded last cell, and how unusual it is.

    0: the stride is a power of two that divides every axis, as in almost every network; 1: another that does; 2: one that does not.
    """
    grids: dict[tuple[int, ...], int] = {}
    for stride in range(1, max(input_size) + 1):
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


def has_whole_strides(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Return whether each axis alone comes from a whole-number stride (spectrograms and volumes differ by axis)."""
    return all((cells,) in stride_grids((size,)) for size, cells in zip(input_size, grid, strict=True))
