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
def stride_grids(input_size: tuple[int, ...]) -> frozenset[tuple[int, ...]]:
    """Return every grid that one whole-number stride makes of the input, with and without a padded last cell."""
    grids = set()
    for stride in range(1, max(input_size) + 1):
        grids.add(tuple(max(size // stride, 1) for size in input_size))
        grids.add(tuple(-(-size // stride) for size in input_size))
    return frozenset(grids)


def has_one_scale(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Return whether one real stride explains every axis to within a cell (unpadded convolutions lose border cells)."""
    lowest = max(size / (cells + 1) for size, cells in zip(input_size, grid, strict=True))
    highest = min(size / max(cells - 1, 1e-9) for size, cells in zip(input_size, grid, strict=True))
    return lowest <= highest


def has_whole_strides(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Return whether each axis alone comes from a whole-number stride (spectrograms and volumes differ by axis)."""
    return all((cells,) in stride_grids((size,)) for size, cells in zip(input_size, grid, strict=True))
