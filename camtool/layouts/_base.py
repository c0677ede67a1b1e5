"""Base class of layouts, and the grid arithmetic that all of them share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from torch import Tensor

from camtool.types import Maps


class Reading(NamedTuple):
    """Axes and extra tokens that a layout reads from a tensor.

    Example:
        >>> from camtool.layouts import Reading
        >>> print(Reading("NLC", extra_tokens=1), Reading("NCHW"), Reading("NLC", extra_tokens=1, behind=100), sep=", ")
        NLC + 1, NCHW, NLC + 1 in front, 100 behind
    """

    axes: str
    """One letter per axis, in order: N samples, C channels, D, H, W of a grid, L tokens."""
    extra_tokens: int = 0
    """Number of leading tokens that are not positions (class, distillation, registers)."""
    among: int = 0
    """Number of such tokens between positions."""
    behind: int = 0
    """Number of such tokens behind all positions."""
    order: str = ""
    """Order of the tokens where it is not that of the rows: "columns first" or the like, "permuted"."""

    def __str__(self) -> str:
        if self.among or self.behind:
            parts = [(self.extra_tokens, "in front"), (self.among, "among them"), (self.behind, "behind")]
            extra = " + " + ", ".join(f"{count} {where}" for count, where in parts if count)
        else:
            extra = f" + {self.extra_tokens}" if self.extra_tokens else ""
        return f"{self.axes}{extra}{', ' + self.order if self.order else ''}"


class Layout(ABC):
    """Base class of layouts: convert a layer's tensor to maps (n, c, *spatial) and back, activations and gradients alike.

    Example:
        >>> import torch
        >>> from camtool.layouts import Layout, Tokens
        >>> layout = Tokens()
        >>> isinstance(layout, Layout)
        True
        >>> print(layout.reading((2, 197, 768), (224, 224)))
        NLC + 1
    """

    @property
    def batch_axis(self) -> int:
        """The axis of the samples."""
        return 0

    @abstractmethod
    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        """Return why this layout cannot read a tensor of `shape`, or None if it can.

        `given` is True if the user chose this layout: then only impossible shapes are refused, not unlikely ones.
        """

    @abstractmethod
    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        """Return maps (n, c, *spatial), spatial axes in the order of the input's."""

    @abstractmethod
    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        """Return the tensor that `to_maps` converts to these maps; extra tokens, which are not positions, are those of `like`.

        `like` is a tensor of the layer with one sample, or as many as the maps have.
        """

    def channel_axes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the lengths of the axes of a tensor of `shape` that are channels together, the slowest first; () if it is one axis."""
        return ()

    @abstractmethod
    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        """Return the axes and the number of extra tokens of a tensor of `shape`, which this layout fits."""


def describe(tensor: Tensor) -> str:
    """Return the tensor's shape as the subject of an error message."""
    return f"An output of shape {tuple(tensor.shape)}"


@cache
def stride_grids(input_size: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Return the grids that one whole-number stride makes of the input, with and without a padded last cell, and the rank of each.

    Rank 0: the stride is a power of two that divides every axis, as in almost every network; 1: another stride that divides every axis;
    2: one that does not. Axes before the last two must be divisible: 3072 channels would otherwise fit a video at every seventh position.
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
    return lowest < highest


def has_one_scale_in_plane(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Return whether one real stride explains the last two axes, and a whole-number one each of them all (video: time is apart)."""
    return has_one_scale(grid[-2:], input_size[-2:]) and has_whole_strides(grid, input_size)


def has_whole_strides(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Return whether each axis alone comes from a whole-number stride (spectrograms and volumes differ by axis)."""
    return all((cells,) in stride_grids((size,)) for size, cells in zip(input_size, grid, strict=True))
