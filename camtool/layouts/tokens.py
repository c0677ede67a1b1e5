"""Layout of token sequences: (n, length, c) or (n, c, length), extra tokens in front."""

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


@LAYOUTS.register_module()
class Tokens(Layout):
    """(n, length, c), or (n, c, length) where only the last axis is a token count.

    Args:
        num_extra_tokens: number of leading tokens (class, distillation, registers) that are not positions; None: length minus grid.

    Raises:
        ConfigError: if `num_extra_tokens` is negative or not a whole number.

    Example:
        >>> import torch
        >>> from camtool.layouts import Tokens
        >>> layout = Tokens(num_extra_tokens=2)
        >>> layout.to_maps(torch.zeros(1, 198, 768), (224, 224)).shape
        torch.Size([1, 768, 14, 14])
        >>> print(layout.mismatch((1, 197, 768), (224, 224), given=True))
        neither 197 nor 768 tokens after 2 extra tokens make a grid of that input
    """

    def __init__(self, *, num_extra_tokens: int | None = None) -> None:
        if num_extra_tokens is not None and (not isinstance(num_extra_tokens, int) or num_extra_tokens < 0):
            raise ConfigError(f"Expected num_extra_tokens as a whole number, 0 or more, got {num_extra_tokens!r}.")
        self.num_extra_tokens = num_extra_tokens

    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        if len(shape) != 3:
            return f"expected tokens (n, length, c) with 3 axes, got {len(shape)} axes"
        if not given and shape[2] == 1:
            return "its middle axis may be channels"  # pooled features, (n, c, 1)
        if not given and shape[1] == 1:
            return "it has a single token, no spatial extent"  # a class token by itself, (n, 1, c)
        if self._find(shape, input_size) is None:
            extra = "" if self.num_extra_tokens is None else f" after {self.num_extra_tokens} extra tokens"
            return f"neither {shape[1]} nor {shape[2]} tokens{extra} make a grid of that input"
        return None

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        axis, split = self._split(tensor.shape, input_size)
        tokens = tensor.movedim(axis, 2)  # (n, c, length)
        return tokens[:, :, split.extra :].unflatten(2, split.grid)

    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        axis, split = self._split(like.shape, input_size)
        patches = maps.flatten(2).movedim(2, axis).contiguous()
        if not split.extra:
            return patches
        extra = like.narrow(axis, 0, split.extra)
        return torch.cat([extra.expand(len(maps), *extra.shape[1:]), patches], dim=axis)

    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        axis, split = self._split(shape, input_size)
        return Reading("NLC" if axis == 1 else "NCL", split.extra)

    def _split(self, shape: Sequence[int], input_size: Sequence[int]) -> tuple[int, TokenGrid]:
        split = self._find(shape, input_size)
        assert split is not None, "mismatch() is called first"
        return split

    def _find(self, shape: Sequence[int], input_size: Sequence[int]) -> tuple[int, TokenGrid] | None:
        # 448 channels of 49 tokens could be 21x21 tokens and 7 extra; the likelier grid tells which axis counts tokens.
        candidates = [(axis, grid) for axis in (1, 2) if (grid := token_grid(shape[axis], input_size, self.num_extra_tokens))]
        return min(candidates, key=lambda candidate: (candidate[1].rank, candidate[0]), default=None)
