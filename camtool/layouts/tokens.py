"""Layout of token sequences: (n, length, c), (n, c, length) or (length, n, c), extra tokens in front, among or behind the positions."""

import copy
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from camtool.errors import ConfigError
from camtool.layouts._base import Layout, Reading, stride_grids
from camtool.registry import LAYOUTS
from camtool.types import Maps

MAX_EXTRA_TOKENS = 8  # class + distillation tokens are 2, DINOv2 with registers has 5


class TokenGrid(NamedTuple):
    """Split of a sequence length into extra tokens and a grid; the smaller of two is the likelier."""

    rank: int
    """How unusual the grid's stride is: see `stride_grids`."""
    extra: int
    grid: tuple[int, ...]


def token_grid(length: int, input_size: Sequence[int], num_extra_tokens: int | None = None) -> TokenGrid | None:
    """Return the likeliest split length = extra tokens + grid cells, or None if there is none.

    The grid is one that a whole-number stride makes of the input, so it need not be square. Without `num_extra_tokens` the number of
    extra tokens is the smallest that leaves a grid of the likeliest kind: it follows from the tensor, not from the model.
    """
    return _likeliest(length, tuple(input_size), num_extra_tokens)


@cache  # a probe calls this for every layer, and many layers are alike
def _likeliest(length: int, input_size: tuple[int, ...], num_extra_tokens: int | None) -> TokenGrid | None:
    counts = range(MAX_EXTRA_TOKENS + 1) if num_extra_tokens is None else [num_extra_tokens]
    candidates = []
    for grid, rank in stride_grids(input_size).items():
        cells = math.prod(grid)
        extra = length - cells
        if cells > 1 and extra in counts and (num_extra_tokens is not None or extra < cells):
            candidates.append(TokenGrid(rank, extra, grid))
    return min(candidates, default=None)


def cell_indices(grid: Sequence[int], order: Sequence[int], front: int = 0, middle: tuple[int, int] = (0, 0)) -> Tensor:
    """Return (*grid): the index in the sequence of each cell's token.

    Args:
        order: spatial axes, from the slowest to the fastest along the sequence.
        front: number of tokens in front of the positions.
        middle: (positions before it, number of tokens) of a gap between positions.
    """
    cells = torch.arange(math.prod(grid), device="cpu")
    cells = torch.where(cells < middle[0], cells, cells + middle[1]) + front
    return cells.unflatten(0, [grid[axis] for axis in order]).permute([list(order).index(axis) for axis in range(len(grid))])


class _Split(NamedTuple):
    """Where the tokens of one tensor are: axes of samples and tokens, and the cells' tokens."""

    batch_axis: int
    axis: int
    grid: tuple[int, ...]
    cells: Tensor
    """(*grid) indices along `axis`."""


@LAYOUTS.register_module()
class Tokens(Layout):
    """(n, length, c), (n, c, length) or (length, n, c): one axis holds the positions, one after the other, and extra tokens.

    What is not given is derived from the shape: the axis, and the likeliest grid behind the tokens in front.

    Args:
        num_extra_tokens: number of leading tokens (class, distillation, registers) that are not positions; None: length minus grid.
        grid: number of cells of each spatial axis of the input.
        front: the same as `num_extra_tokens`.
        middle: (positions before them, number) of extra tokens between positions.
        behind: number of extra tokens behind the positions.
        axis: the axis of the tokens.
        batch_axis: the axis of the samples; None: the first.
        order: spatial axes from the slowest to the fastest along the sequence; None: rows of an image one after the other, (0, 1).
        cells: index of each cell's token, shaped as the grid, for any other order; it replaces all of the above but the axes.

    Raises:
        ConfigError: if a number is negative or not whole, or they contradict each other.

    Example:
        >>> import torch
        >>> from camtool.layouts import Tokens
        >>> layout = Tokens(num_extra_tokens=2)
        >>> layout.to_maps(torch.zeros(1, 198, 768), (224, 224)).shape
        torch.Size([1, 768, 14, 14])
        >>> Tokens(grid=(8, 14, 14), front=1).to_maps(torch.zeros(1, 1569, 768), (16, 224, 224)).shape
        torch.Size([1, 768, 8, 14, 14])
        >>> print(layout.mismatch((1, 197, 768), (224, 224), given=True))
        neither 197 nor 768 tokens after 2 extra tokens make a grid of that input
    """

    def __init__(  # noqa: PLR0913 - a keyword each
        self,
        *,
        num_extra_tokens: int | None = None,
        grid: Sequence[int] | None = None,
        front: int | None = None,
        middle: Sequence[int] | None = None,
        behind: int | None = None,
        axis: int | None = None,
        batch_axis: int | None = None,
        order: Sequence[int] | None = None,
        cells: Tensor | None = None,
    ) -> None:
        for name, value in {"num_extra_tokens": num_extra_tokens, "front": front, "behind": behind}.items():
            if value is not None:
                _whole(name, value, least=0)
        if front is not None and num_extra_tokens not in (None, front):
            raise ConfigError(f"num_extra_tokens={num_extra_tokens} and front={front} are the same number; give one of them.")
        self.front = num_extra_tokens if front is None else front
        self.grid = None if grid is None else _wholes("grid", grid, least=1)
        self.middle = (0, 0) if middle is None else _wholes("middle", middle, least=0)
        self.behind = behind
        self.axis = None if axis is None else _whole("axis", axis, least=0)
        self.stated_batch_axis = None if batch_axis is None else _whole("batch_axis", batch_axis, least=0)
        self._batch_axis = self.stated_batch_axis or 0
        self.order = None if order is None else _wholes("order", order, least=0)
        self.cells = cells
        if len(self.middle) != 2:
            raise ConfigError(f"Expected middle as (positions before them, number of tokens), got {middle!r}.")
        if self.order is not None and sorted(self.order) != list(range(len(self.order))):
            raise ConfigError(f"Expected order as each spatial axis once, such as (1, 0), got {order!r}.")
        if self.axis is not None and self.axis == self._batch_axis:
            raise ConfigError(f"axis and batch_axis are both {axis}; the tokens and the samples have an axis each.")

    @property
    def num_extra_tokens(self) -> int | None:
        """Number of leading tokens that are not positions; None: derived."""
        return self.front

    @property
    def batch_axis(self) -> int:
        return self._batch_axis

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and str(vars(self)) == str(vars(other))

    def __hash__(self) -> int:
        return hash((self.grid, self.front))

    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        if len(shape) != 3:
            return f"expected tokens (n, length, c) with 3 axes, got {len(shape)} axes"
        if not given and shape[2] == 1:
            return "its middle axis may be channels"  # pooled features, (n, c, 1)
        if not given and shape[1] == 1:
            return "it has a single token, no spatial extent"  # a class token by itself, (n, 1, c)
        if self._find(tuple(shape), tuple(input_size)) is None:
            lengths = [shape[axis] for axis in self._axes()]
            subject = f"neither {lengths[0]} nor {lengths[1]} tokens" if len(lengths) > 1 else f"{lengths[0]} tokens"
            make = "make" if len(lengths) > 1 else "do not make"
            extra = "" if self.front is None else f" after {self.front} extra tokens"
            extra += f", {self.middle[1]} among and {self.behind or 0} behind them" if self.middle[1] or self.behind else ""
            what = "a grid" if self.grid is None else "the grid " + "x".join(map(str, self.grid))
            return f"{subject}{extra} {make} {what} of that input"
        return None

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        split = self._split(tensor.shape, input_size)
        tokens = _tokens_last(tensor, split)  # (n, c, length)
        if self._in_a_row(split):  # a view
            return tokens.narrow(2, int(split.cells.flatten()[0]), split.cells.numel()).unflatten(2, split.grid)
        return tokens.index_select(2, split.cells.flatten().to(tensor.device)).unflatten(2, split.grid)

    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        split = self._split(like.shape, input_size)
        tokens = _tokens_last(like, split)
        tokens = tokens.expand(len(maps), *tokens.shape[1:])
        if self._in_a_row(split):
            start = int(split.cells.flatten()[0])
            end = start + split.cells.numel()
            tokens = torch.cat([tokens[:, :, :start], maps.flatten(2), tokens[:, :, end:]], dim=2)
        else:
            tokens = tokens.index_copy(2, split.cells.flatten().to(maps.device), maps.flatten(2))
        channels = 3 - split.batch_axis - split.axis
        axes = {split.batch_axis: 0, channels: 1, split.axis: 2}
        return tokens.permute([axes[axis] for axis in range(3)]).contiguous()

    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        split = self._split(shape, input_size)
        letters = {split.batch_axis: "N", split.axis: "L"}
        axes = "".join(letters.get(axis, "C") for axis in range(3))
        if self.cells is not None:
            return Reading(axes, order="permuted")
        front = int(split.cells.min())
        behind = shape[split.axis] - 1 - int(split.cells.max())
        rows = self.order is None or tuple(self.order) == tuple(range(len(self.order)))
        order = "" if rows else "order " + "x".join(map(str, self.order or ()))
        return Reading(axes, front, self.middle[1], behind, order)

    def along(self, other: Layout) -> "Tokens":
        """Return this layout with the axes of another one, where they are not stated."""
        if not isinstance(other, Tokens) or self.axis is not None or self.stated_batch_axis is not None:
            return self
        completed = copy.copy(self)
        completed.axis, completed._batch_axis = other.axis, other.batch_axis
        return completed

    def agrees_with(self, other: Layout, shape: Sequence[int], input_size: Sequence[int]) -> bool:
        """Return whether what is stated of this layout is so of another one that reads sequences of `shape`."""
        if not isinstance(other, Tokens):  # a signal without extra tokens
            stated = (self.front or 0, self.middle[1], self.behind or 0)
            grid = tuple(other.to_maps(torch.empty(tuple(shape), device="meta"), input_size).shape[2:])
            return not any(stated) and self.grid in (None, grid) and self.axis is None and self.order is None
        reading = other.reading(shape, input_size)
        pairs = [
            (self.front, reading.extra_tokens),
            (self.middle[1] or None, reading.among),
            (self.behind, reading.behind),
            (self.grid, other.grid),
            (self.axis, other.axis),
            (self.stated_batch_axis, other.batch_axis),
        ]
        rows = tuple(range(len(input_size)))
        if self.grid is not None or self.order is not None:  # of a stated grid the order is stated, too
            pairs.append((self.order or rows, other.order or rows))
        return self.cells is None and all(stated is None or stated == found for stated, found in pairs)

    def cells_of(self, shape: Sequence[int], input_size: Sequence[int]) -> Tensor:
        """Return (*grid): the index of each cell's token in a tensor of `shape`, which this layout fits."""
        return self._split(shape, input_size).cells

    def _split(self, shape: Sequence[int], input_size: Sequence[int]) -> _Split:
        split = self._find(tuple(shape), tuple(input_size))
        assert split is not None, "mismatch() is called first"
        return split

    def _in_a_row(self, split: _Split) -> bool:
        rows = self.order is None or tuple(self.order) == tuple(range(len(self.order)))
        return self.cells is None and rows and not self.middle[1]

    def _axes(self) -> list[int]:
        return [self.axis] if self.axis is not None else [axis for axis in range(3) if axis != self._batch_axis]

    def _find(self, shape: tuple[int, ...], input_size: tuple[int, ...]) -> _Split | None:
        if self._batch_axis > 2 or max(self._axes()) > 2:
            return None
        if self.cells is not None:
            axis = self._axes()[0]
            return _Split(self._batch_axis, axis, tuple(self.cells.shape), self.cells) if shape[axis] > int(self.cells.max()) else None
        # 448 channels of 49 tokens could be 21x21 tokens and 7 extra; the likelier grid tells which axis counts tokens.
        fitting = [(axis, found) for axis in self._axes() if (found := self._grid(shape[axis], input_size))]
        best = min(fitting, key=lambda candidate: (candidate[1].rank, candidate[0]), default=None)
        if best is None:
            return None
        axis, (_, front, grid) = best
        order = range(len(grid)) if self.order is None else self.order
        return _Split(self._batch_axis, axis, grid, cell_indices(grid, order, front, (self.middle[0], self.middle[1])))

    def _grid(self, length: int, input_size: tuple[int, ...]) -> TokenGrid | None:
        elsewhere = self.middle[1] + (self.behind or 0)
        if self.order is not None and len(self.order) != len(input_size):
            return None
        if self.grid is None:
            return token_grid(length - elsewhere, input_size, self.front) if length > elsewhere else None
        extra = length - math.prod(self.grid)
        front = self.front if self.front is not None else extra - elsewhere
        fits = len(self.grid) == len(input_size) and front >= 0 and extra == front + elsewhere
        if not fits and self.behind is None and self.front is not None and len(self.grid) == len(input_size):
            fits = extra >= front + elsewhere  # what is left is behind the positions
        return TokenGrid(0, front, self.grid) if fits else None


def _tokens_last(tensor: Tensor, split: _Split) -> Tensor:
    channels = 3 - split.batch_axis - split.axis
    return tensor.permute(split.batch_axis, channels, split.axis)


def _whole(name: str, value: Any, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"Expected {name} as a whole number, {least} or more, got {value!r}.")
    return value


def _wholes(name: str, values: Any, *, least: int) -> tuple[int, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or not values:
        raise ConfigError(f"Expected {name} as whole numbers, such as (14, 14), got {values!r}.")
    return tuple(_whole(name, value, least=least) for value in values)
