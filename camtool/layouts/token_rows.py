"""Layout of tokens of which several look at each place: patches of a spectrogram that a network makes of a signal itself."""

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from camtool.errors import times
from camtool.layouts._base import Layout, Reading
from camtool.layouts.localisation import CONFIRMED, PERMUTED, Localisation, Responses, weighted_correlation
from camtool.layouts.tokens import MAX_EXTRA_TOKENS, Tokens, _Split, _whole, cell_indices
from camtool.registry import LAYOUTS
from camtool.types import Maps

LEAST_CELLS = 4
"""Fewest places: three correlate with anything."""
LESS = 0.75
"""Share of what another reading leaves of the places unexplained, below which that of several tokens a place is believed."""


@LAYOUTS.register_module()
class TokenRows(Tokens):
    """(n, length, c) with several tokens at each place, as of a spectrogram's patches: each channel of each row is a channel of its own.

    Args:
        rows: number of tokens that look at each place, such as the patches from the lowest to the highest frequency.
        grid: number of cells of each spatial axis of the input; None: of a signal, what the other numbers leave.
        front: number of leading tokens (class, distillation, registers) that are not positions.
        behind: number of such tokens behind the positions.
        axis: the axis of the tokens.
        batch_axis: the axis of the samples.
        order: of the rows (0) and the spatial axes (1, …), from the slowest to the fastest along the sequence; None: row by row, all
            times of one frequency before the next; (1, 0): all frequencies of one time before the next.

    Raises:
        ConfigError: if a number is negative or not whole, or they contradict each other.

    Example:
        >>> import torch
        >>> from camtool.layouts import TokenRows
        >>> layout = TokenRows(rows=12, front=2)  # the Audio Spectrogram Transformer's 12x101 patches, on 16000 * 10 samples
        >>> layout.to_maps(torch.zeros(1, 1214, 768), (160000,)).shape
        torch.Size([1, 9216, 101])
        >>> print(layout.reading((1, 1214, 768), (160000,)))
        NLC + 2, 12 tokens a place
    """

    def __init__(
        self,
        *,
        rows: int,
        grid: Sequence[int] | None = None,
        front: int = 0,
        behind: int = 0,
        axis: int = 1,
        batch_axis: int = 0,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__(grid=grid, front=front, behind=behind, axis=axis, batch_axis=batch_axis, order=order)
        self.rows = _whole("rows", rows, least=2)

    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        if len(shape) == 3 and self._find(tuple(shape), tuple(input_size)) is None:
            return (
                f"{shape[self._tokens_axis]} tokens, {self.front} in front and {self.behind} behind, are no {self.rows} rows of "
                f"{'a grid' if self.grid is None else times(self.grid)} over that input"
            )
        return super().mismatch(shape, input_size, given=given)

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        return super().to_maps(tensor, input_size).flatten(1, 2)

    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        return super().from_maps(maps.unflatten(1, (-1, self.rows)), like, input_size)

    def channel_axes(self, shape: Sequence[int]) -> tuple[int, ...]:
        return shape[3 - self._tokens_axis - self.batch_axis], self.rows

    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        return super().reading(shape, input_size)._replace(order=f"{self.rows} tokens a place")

    def agrees_with(self, other: Layout, shape: Sequence[int], input_size: Sequence[int]) -> bool:
        return isinstance(other, TokenRows) and self.rows == other.rows and super().agrees_with(other, shape, input_size)

    @property
    def _tokens_axis(self) -> int:
        return 1 if self.axis is None else self.axis

    def _find(self, shape: tuple[int, ...], input_size: tuple[int, ...]) -> _Split | None:
        positions = shape[self._tokens_axis] - (self.front or 0) - (self.behind or 0)
        grid = (self.rows, *((positions // self.rows,) if self.grid is None else self.grid))
        order = tuple(range(len(grid))) if self.order is None else self.order
        if math.prod(grid) != positions or math.prod(grid[1:]) < 2 or not len(grid) == len(order) == 1 + len(input_size):
            return None
        return _Split(self.batch_axis, self._tokens_axis, grid, cell_indices(grid, order, self.front or 0))


def find_token_rows(
    responses: Responses, batch_axis: int, plainly: Mapping[int, float], stacks: Collection[tuple[int, int]]
) -> tuple[TokenRows, float] | None:
    """Return the reading of a signal's sequence in which several tokens look at each place, and its correlation; None if there is none.

    Args:
        responses: of a tensor of three axes.
        batch_axis: of the samples.
        plainly: by axis, the correlation of a reading with one token at each place.
        stacks: rows and cells of features that the network makes before. A sequence of all rows of one place before the next looks like
            one of as many places: a few slabs do not tell it, but that it has as many tokens as such features does.
    """
    axes = [axis for axis in range(3) if axis != batch_axis and responses.shape[axis] >= 2 * LEAST_CELLS]
    places = {axis: Localisation(responses.own[axis], responses.by_axis[axis]) for axis in axes}
    axis = max(axes, key=lambda axis: places[axis].spread, default=-1)
    if axis < 0 or places[axis].spread < PERMUTED:
        return None
    length, explained = places[axis].length, max(plainly.get(axis, 0.0), CONFIRMED)
    centres, weights = places[axis].centres(0), places[axis].weights

    def fit(rows: int, front: int, *, rows_first: bool) -> tuple[TokenRows, float]:
        cells = torch.arange((length - front) // rows, dtype=torch.float32, device="cpu")
        coordinates = cells.repeat(rows) if rows_first else cells.repeat_interleave(rows)
        layout = TokenRows(rows=rows, front=front, axis=axis, batch_axis=batch_axis, order=None if rows_first else (1, 0))
        return layout, weighted_correlation(centres[front:], coordinates, weights[front:])

    fits = [
        fit(rows, front, rows_first=True)
        for front in range(min(MAX_EXTRA_TOKENS, length) + 1)
        for rows in range(2, (length - front) // LEAST_CELLS + 1)
        if (length - front) % rows == 0
    ]
    best = max(fits, key=lambda found: found[1], default=None)
    if best is not None and best[1] > 0 and 1 - best[1] ** 2 < LESS * (1 - explained**2):
        return best
    fits = [fit(rows, length - rows * cells, rows_first=False) for rows, cells in stacks if 0 <= length - rows * cells <= MAX_EXTRA_TOKENS]
    best = max(fits, key=lambda found: found[1], default=None)
    return best if best is not None and best[1] >= CONFIRMED else None
