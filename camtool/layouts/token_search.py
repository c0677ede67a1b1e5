"""The grid in a sequence of tokens: which tokens are positions, in which order, from where each of them looks."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from camtool.layouts._base import has_one_scale, stride_grids
from camtool.layouts.localisation import Localisation
from camtool.layouts.tokens import cell_indices

COST, COST_OF_SILENT = 0.1, 0.4
"""Costs of a position, in typical scores of one, and the further one if it hardly answers to any slab more than to the others: such
a token has a score of zero, and is no position."""
SILENT = 0.1
MOST_EXTRA, LEAST_SHARE = 128, 8
"""Largest number of extra tokens, and least share of positions, one in so many."""
FEW_EXTRA, LONG = 16, 512
"""Largest number of extra tokens of a signal with more elements than that."""
MOST_GAPS = 64
SHARE_OF_ROWS = 0.8
"""Row lengths with less than this share of the best one's score are not tried."""
LEAST_SCORE = 0.15
"""Row lengths with a smaller score are not tried: no element of a sequence of channels looks anywhere."""
MOST_WITH_GAPS = 4
ALMOST = 0.8
"""Share of the best reading's quality from which one that leaves fewer tokens out that look at a place is preferred."""
BETTER = 0.03
"""By which share extra tokens among the positions must make a reading of a picture better."""
HALF = 0.5
"""Share of the weight of positions from which a token may be one."""
MANY = 16
NEIGHBOURS = 0.4
"""Least correlation of the places of neighbours in a sequence in which most neighbours are so in the picture, too."""


@dataclass(frozen=True)
class TokenFit:
    """One way to read a sequence as a grid, and how well the measurement agrees with it."""

    grid: tuple[int, ...]
    order: tuple[int, ...]
    """Spatial axes from the slowest to the fastest in the sequence; (0, 1) for rows of an image one after the other."""
    front: int
    gap: tuple[int, int]
    """(positions before it, number of tokens) of extra tokens among the positions; (0, 0) if there are none."""
    behind: int
    score: float
    """Mean over the sequence of how much more each token answers where it should look than elsewhere."""
    correlation: float
    """Smallest correlation over axes between the places of the tokens and those of the cells."""

    @property
    def quality(self) -> float:
        """What readings of one sequence are compared by: the score, less where the order of the places disagrees."""
        return self.score * max(self.correlation, 0.0) ** 2


def find_token_grids(
    places: Localisation, size: Sequence[int], extra: int | None = None, grid: Sequence[int] | None = None
) -> list[TokenFit]:
    """Return the readings of a sequence that its measured places support, the best first; [] if there are none.

    Args:
        places: where each token looks.
        extra: number of tokens that are no positions, if known.
        grid: the grid, if known.
    """
    if places.length >= MANY and places.neighbourhood() < NEIGHBOURS:
        return []
    active = [axis for axis, cells in enumerate(size) if cells > 1]
    single = tuple(axis for axis in range(len(size)) if axis not in active)
    grids = proposed_grids(places.length, tuple(size), extra) if grid is None else [tuple(grid)]
    grids = [candidate for candidate in grids if 1 < math.prod(candidate) <= places.length]
    rows = {(axis, candidate[axis]) for candidate in grids for axis in active}
    row_scores = {row: places.row_score(*row) for row in rows} if len(active) > 1 else {}
    enough = max(SHARE_OF_ROWS * max(row_scores.values(), default=0.0), LEAST_SCORE)
    fits = [
        _contiguous(places, candidate, single + order, active)
        for candidate in grids
        for order in itertools.permutations(active)
        if len(active) == 1 or row_scores[order[-1], candidate[order[-1]]] >= enough
    ]
    best = sorted(fits, key=_quality, reverse=True)[:MOST_WITH_GAPS]
    with_gaps = [_with_gap(places, fit, active) for fit in best]
    found = [fit for fit in with_gaps if not _leaves_a_row_out(places, fit)]
    enough = ALMOST * max((fit.quality for fit in found), default=0.0)
    # A cell more or less changes little; a token that looks at a place and is left out does.
    return sorted(found, key=lambda fit: (fit.quality < enough, positions_left_out(places, fit), -fit.quality))


def positions_left_out(places: Localisation, fit: TokenFit) -> int:
    """Return the number of tokens that are no positions in a reading, but look at a place as those do that are."""
    kept = torch.zeros(places.length, dtype=torch.bool, device="cpu")
    kept[cell_indices(fit.grid, fit.order, fit.front, fit.gap).flatten()] = True
    return int((places.weights[~kept] > HALF * places.weights[kept].mean()).sum())


def _leaves_a_row_out(places: Localisation, fit: TokenFit) -> bool:
    row = fit.grid[fit.order[-1]] if len(places.used) > 1 else 2
    return positions_left_out(places, fit) >= max(row, 2)


def _quality(fit: TokenFit) -> float:
    return fit.quality


@cache
def proposed_grids(length: int, size: tuple[int, ...], extra: int | None) -> tuple[tuple[int, ...], ...]:
    """Return the grids that `length` tokens may hold: each axis from a whole-number stride, or one stride for all of them."""
    return tuple(_grids(length, size, extra))


def _grids(length: int, size: tuple[int, ...], extra: int | None) -> Iterator[tuple[int, ...]]:
    def strided(axis: int) -> set[int]:
        return {grid[0] for grid in stride_grids((size[axis],))}

    whole = [strided(axis) for axis in range(len(size))]
    most = FEW_EXTRA if len(size) - size.count(1) == 1 and length > LONG else MOST_EXTRA  # any length may be a signal's
    lowest = length - extra if extra is not None else max(length - most, length // LEAST_SHARE, 2)
    highest = length - extra if extra is not None else length
    for leading in itertools.product(*[range(1, min(cells, length) + 1) for cells in size[:-1]]):
        product = math.prod(leading)
        if product > highest:
            continue
        for last in range(-(-lowest // product), min(highest // product, size[-1]) + 1):
            grid = (*leading, last)
            if any(count == 1 < length for count, length in zip(grid, size, strict=True)) and not has_one_scale(grid, size):
                continue
            if all(count in strides for count, strides in zip(grid, whole, strict=True)) or has_one_scale(grid, size):
                yield grid


def _contiguous(places: Localisation, grid: tuple[int, ...], order: tuple[int, ...], active: Sequence[int]) -> TokenFit:
    """Return the best split of a grid's extra tokens into those in front of and those behind the positions."""
    sums = _sums(places, grid, order, active)
    front = int(sums[:, -1].argmax())
    return _fit(places, grid, order, front, (0, 0), sums[front, -1].item(), active)


def _with_gap(places: Localisation, fit: TokenFit, active: Sequence[int]) -> TokenFit:
    """Return the fit with extra tokens among the positions, too, if that is clearly better."""
    count = math.prod(fit.grid)
    extra = places.length - count
    if not 0 < extra <= MOST_GAPS or count < 3:
        return fit
    sums = _sums(places, fit.grid, fit.order, active)
    # Of a picture a gap in the middle shifts half of the rows; a gap behind a few tokens may be those tokens' own answers.
    better = max(HALF / count, BETTER if len(active) > 1 else 0.0)
    score, front, gap = fit.score * places.length * (1 + better), fit.front, (0, 0)
    for first in range(extra):
        # Positions before the gap start at `first`, those behind it later by the number of extra tokens in the gap.
        later = (sums[first + 1 :, -1:] - sums[first + 1 :] + sums[first])[:, 1:-1]
        value, place = later.flatten().max(dim=0)
        if value.item() > score:
            tokens, before = divmod(int(place), count - 1)
            score, front, gap = value.item(), first, (before + 1, tokens + 1)
    return _fit(places, fit.grid, fit.order, front, gap, score, active) if gap[1] else fit


def _sums(places: Localisation, grid: tuple[int, ...], order: tuple[int, ...], active: Sequence[int]) -> Tensor:
    """Return (extra + 1, cells + 1): scores of the first 0, 1, … positions, if they start at each of the possible tokens."""
    count = math.prod(grid)
    extra = places.length - count
    coordinates = torch.unravel_index(torch.arange(count, device="cpu"), [grid[axis] for axis in order])
    starts = torch.arange(extra + 1, device="cpu").unsqueeze(1) + torch.arange(count, device="cpu")
    gains = torch.stack([places.gains(axis, grid[axis], starts, coordinates[order.index(axis)]) for axis in active]).mean(dim=0)
    # Of a signal nothing else tells where extra tokens stand; in a picture a row that hardly answers is still a row.
    silent = (1 - places.weights / SILENT).clamp(min=0) if len(active) == 1 else 0
    costs = COST + COST_OF_SILENT * silent + places.weights.new_zeros(places.length)
    gains = gains - (costs * max(places.typical, 1.0))[starts]
    return torch.cat([gains.new_zeros(extra + 1, 1), gains.cumsum(dim=1)], dim=1)


def _fit(
    places: Localisation,
    grid: tuple[int, ...],
    order: tuple[int, ...],
    front: int,
    gap: tuple[int, int],
    score: float,
    active: Sequence[int],
) -> TokenFit:
    behind = places.length - math.prod(grid) - front - gap[1]
    kept = cell_indices(grid, order, front, gap).flatten()
    return TokenFit(grid, order, front, gap, behind, score / places.length, places.correlation(kept, grid, active))
