"""Sequences of tokens: (n, length, c) with extra tokens in front, or (n, c, length)."""

import math
from collections.abc import Sequence

from torch import Tensor

from camtool.errors import ConfigError
from camtool.layouts._base import Layout, stride_grids
from camtool.registry import LAYOUTS
from camtool.types import Maps

MAX_EXTRA_TOKENS = 8  # class + distillation tokens are 2, DINOv2 with registers has 5


def token_grid(length: int, input_size: Sequence[int], num_extra_tokens: int | None = None) -> tuple[int, tuple[int, ...]] | None:
    """Return (extra tokens, grid) such that extra + cells = length, or None.

    The grid is one that a whole-number stride makes of the input, so it need not be square. Where the number of extra tokens is
    not given, it is the smallest that leaves a grid: a property of the tensor, not of the model.
    """
    counts = [num_extra_tokens] if num_extra_tokens is not None else range(MAX_EXTRA_TOKENS + 1)
    by_cells = {math.prod(grid): grid for grid in sorted(stride_grids(tuple(input_size))) if math.prod(grid) > 1}
    for extra in counts:
        cells = length - extra
        if cells in by_cells and (num_extra_tokens is not None or extra < cells):
            return extra, by_cells[cells]
    return None


@LAYOUTS.register_module()
class Tokens(Layout):
    """(n, length, c), or (n, c, length) where only the last axis is a token count.

    Args:
        num_extra_tokens: how many leading tokens (class, distillation, registers) are not positions; None: length minus grid.
    """

    def __init__(self, *, num_extra_tokens: int | None = None) -> None:
        if num_extra_tokens is not None and num_extra_tokens < 0:
            raise ConfigError(f"num_extra_tokens must be 0 or more, got {num_extra_tokens}.")
        self.num_extra_tokens = num_extra_tokens

    def misfit(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        if len(shape) != 3:
            return f"expected tokens (n, length, c) with 3 axes, got {len(shape)}"
        if not given and len(input_size) == 1 and shape[2] == 1:
            return "its middle axis may be channels"  # pooled features of a signal, (n, c, 1)
        if self._axis(shape, input_size) is None:
            extra = "" if self.num_extra_tokens is None else f" after {self.num_extra_tokens} extra tokens"
            return f"neither {shape[1]} nor {shape[2]} tokens{extra} make a grid of that input"
        return None

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        axis = self._axis(tensor.shape, input_size)
        assert axis is not None, "misfit() is asked first"
        tokens = tensor.movedim(axis, 2)  # (n, c, length)
        found = token_grid(tokens.shape[2], input_size, self.num_extra_tokens)
        assert found is not None
        extra, grid = found
        return tokens[:, :, extra:].unflatten(2, grid)

    def _axis(self, shape: Sequence[int], input_size: Sequence[int]) -> int | None:
        for axis in (1, 2):
            if token_grid(shape[axis], input_size, self.num_extra_tokens) is not None:
                return axis
        return None
