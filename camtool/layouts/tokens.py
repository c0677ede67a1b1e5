"""Sequences of tokens: (n, length, c) with extra tokens in front, or (n, c, length)."""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from camtool.errors import ConfigError
from camtool.layouts._base import Layout, Reading, stride_grids
from camtool.registry import LAYOUTS
from camtool.types import Maps

MAX_EXTRA_TOKENS = 8  # class + distillation tokens are 2, DINOv2 with registers has 5


class TokenGrid(NamedTuple):
    """How a length splits into extra tokens and a grid; smaller is likelier."""

    rank: int
    """How unusual the grid's stride is: see `stride_grids`."""
    extra: int
    grid: tuple[int, ...]


def token_grid(length: int, input_size: Sequence[int], num_extra_tokens: int | None = None) -> TokenGrid | None:
    """Return the likeliest extra + cells = length, or None.

    The grid is one that a whole-number stride makes of the input, so it need not be square. Where the number of extra tokens is
    not given, it is the smallest that leaves a grid of the likeliest kind: a property of the tensor, not of the model.
    """
    return _likeliest(length, tuple(input_size), num_extra_tokens)


@cache  # a probe asks of every layer, and many are alike
def _likeliest(length: int, input_size: tuple[int, ...], num_extra_tokens: int | None) -> TokenGrid | None:
    counts = range(MAX_EXTRA_TOKENS + 1) if num_extra_tokens is None else [num_extra_tokens]
    found = []
    for grid, rank in stride_grids(input_size).items():
        cells = math.prod(grid)
        extra = length - cells
        if cells > 1 and extra in counts and (num_extra_tokens is not None or extra < cells):
            found.append(TokenGrid(rank, extra, grid))
    return min(found, default=None)


@LAYOUTS.register_module()
class Tokens(Layout):
    """(n, length, c), or (n, c, length) where only the last axis is a token count.

    Args:
        num_extra_tokens: how many leading tokens (class, distillation, registers) are not positions; None: length minus grid.
    """

    def __init__(self, *, num_extra_tokens: int | None = None) -> None:
        if num_extra_tokens is not None and (not isinstance(num_extra_tokens, int) or num_extra_tokens < 0):
            raise ConfigError(f"num_extra_tokens must be a whole number, 0 or more, got {num_extra_tokens!r}.")
        self.num_extra_tokens = num_extra_tokens

    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        if len(shape) != 3:
            return f"expected tokens (n, length, c) with 3 axes, got {len(shape)}"
        if not given and shape[2] == 1:
            return "its middle axis may be channels"  # pooled features, (n, c, 1)
        if not given and shape[1] == 1:
            return "it has a single token, no spatial extent"  # a class token by itself, (n, 1, c)
        if self._find(shape, input_size) is None:
            extra = "" if self.num_extra_tokens is None else f" after {self.num_extra_tokens} extra tokens"
            return f"neither {shape[1]} nor {shape[2]} tokens{extra} make a grid of that input"
        return None

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        axis, found = self._split(tensor.shape, input_size)
        tokens = tensor.movedim(axis, 2)  # (n, c, length)
        return tokens[:, :, found.extra :].unflatten(2, found.grid)

    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        axis, found = self._split(like.shape, input_size)
        patches = maps.flatten(2).movedim(2, axis).contiguous()
        if not found.extra:
            return patches
        extra = like.narrow(axis, 0, found.extra)
        return torch.cat([extra.expand(len(maps), *extra.shape[1:]), patches], dim=axis)

    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        axis, found = self._split(shape, input_size)
        return Reading("NLC" if axis == 1 else "NCL", found.extra)

    def _split(self, shape: Sequence[int], input_size: Sequence[int]) -> tuple[int, TokenGrid]:
        found = self._find(shape, input_size)
        assert found is not None, "mismatch() is asked first"
        return found

    def _find(self, shape: Sequence[int], input_size: Sequence[int]) -> tuple[int, TokenGrid] | None:
        # 448 channels of 49 tokens could be 21x21 tokens and 7 extra; the likelier grid tells which axis counts tokens.
        found = [(axis, grid) for axis in (1, 2) if (grid := token_grid(shape[axis], input_size, self.num_extra_tokens))]
        return min(found, key=lambda one: (one[1].rank, one[0]), default=None)
