"""Readings that a measurement confirms: shapes propose, the places that the elements look at decide."""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from camtool.errors import times
from camtool.layouts._base import Layout, has_one_scale, has_whole_strides, stride_grids
from camtool.layouts.channels import AxisOrder, ChannelsFirst, ChannelsLast
from camtool.layouts.localisation import CONFIRMED, PERMUTED, Localisation, Responses, weighted_correlation
from camtool.layouts.token_rows import find_token_rows
from camtool.layouts.token_search import HALF, TokenFit, find_token_grids, positions_left_out, proposed_grids
from camtool.layouts.tokens import MAX_EXTRA_TOKENS, Tokens, token_grid

MARGIN = 0.3
"""How much smaller that of a reading of other axes must be."""
SHORT = 3
"""Up to so many elements on an axis correlate with anything; there the answers themselves must differ from slab to slab."""
SHARP = 0.3
UNREST = 0.1
"""Share of the answers above which the differences of two undisturbed passes hide them."""
CERTAIN = 0.9
"""Correlation from which, with axes that look SHARPER than the others, nothing else is tried."""
SHARPER = 1.3
RIVAL = 0.3
"""Share of the best reading's quality above which another one is as good."""


@dataclass(frozen=True)
class Finding:
    """What a measurement says about one tensor."""

    layout: Layout | None = None
    correlation: float = 0.0
    depends: bool = True
    """Whether the tensor depends on the picture at all."""
    doubtful: bool = False
    """Whether the grid is one that the input's shape does not suggest, so that a few slabs cannot tell it from windows or pairs."""
    permuted_axis: int | None = None
    """The axis whose elements look at places, but in no order that is known."""
    spreads: Mapping[int, float] = field(default_factory=dict)
    """By axis, how much its elements look elsewhere each; see `Localisation.spread`. Only without a layout."""
    reason: str = ""
    """Why there is no layout, in words."""

    @property
    def decided(self) -> bool:
        """Whether a stronger disturbance could tell nothing else."""
        return self.layout is not None or not self.depends


def judge(
    responses: Responses,
    input_size: Sequence[int],
    batch_axis: int = 0,
    likely: Sequence[Layout] = (),
    *,
    extra: int | None = None,
    stacks: Collection[tuple[int, int]] = (),
) -> Finding:
    """Return the reading of a tensor that its responses confirm, or why there is none.

    Args:
        likely: readings of other layers; one that is confirmed here beyond doubt spares the search.
        extra: number of elements of a sequence that are no positions, if known; of 0 one that hardly answers does so because of the input.
        stacks: rows and cells of features of more axes than a signal has, of which sequences may be made; see `find_token_rows`.
    """
    if not responses.answers():
        return Finding(depends=False, reason="nothing of it depends on the picture")
    if responses.unrest_share() > UNREST:
        return Finding(reason="two passes of the same input differ, so what changes it cannot be told")
    candidates: list[_Candidate] = []
    for candidate in _candidates(responses, tuple(input_size), batch_axis, likely, extra):
        candidates.append(candidate)
        if candidate.beyond_doubt:
            break
    confirmed = sorted((found for found in candidates if found.correlation >= CONFIRMED), key=lambda found: -found.quality)
    if len(responses.shape) - 2 == len(input_size) == 1 and extra is None:
        rows = find_token_rows(responses, batch_axis, {axis: found.correlation for found in confirmed for axis in found.axes}, stacks)
        if rows is not None:
            return Finding(*rows)
    if not confirmed:
        spreads = {axis: Localisation(responses.own[axis]).spread for axis, length in enumerate(responses.shape) if length > SHORT}
        axis = _permuted_axis(responses, spreads, tuple(input_size), batch_axis)
        if axis is not None:
            reason = f"its {responses.shape[axis]} elements look at places in an order that is not known"
            return Finding(permuted_axis=axis, spreads=spreads, reason=reason)
        return Finding(spreads=spreads, reason=f"its elements do not look at the places of a grid over the {times(input_size)} input")
    best = confirmed[0]
    rivals = [other for other in confirmed[1:] if other.axes != best.axes and other.correlation > best.correlation - MARGIN]
    if any(other.quality > RIVAL * best.quality for other in rivals):
        return Finding(reason="several of its axes look at places alike")
    doubtful = isinstance(best.layout, Tokens) and not has_one_scale((best.layout.grid or ())[-2:], input_size[-2:])
    return Finding(best.layout, best.correlation, doubtful=doubtful)


@dataclass(frozen=True)
class _Candidate:
    layout: Layout
    axes: tuple[int, ...]
    correlation: float
    quality: float
    has_gap: bool
    """Whether extra tokens lie among positions, or anywhere in a signal, whose places tell nothing of a shift by one."""
    sharper: float
    """How many times sharper its axes look than the others."""

    @property
    def beyond_doubt(self) -> bool:
        return self.correlation >= CERTAIN and self.sharper >= SHARPER and not self.has_gap


def _candidates(
    responses: Responses, size: tuple[int, ...], batch_axis: int, likely: Sequence[Layout], extra: int | None
) -> Iterator[_Candidate]:
    rank = len(responses.shape)
    axes = [axis for axis in range(rank) if axis != batch_axis and responses.shape[axis] > 1]
    for kind in (responses.own, responses.by_axis):
        places = {axis: Localisation(kind[axis], responses.by_axis[axis]) for axis in axes}
        if rank >= 2 + len(size) > 3 or rank > 3:
            yield from _grids(places, responses.shape, size, batch_axis)
        if rank == 3:
            yield from _sequences(places, size, batch_axis, likely, extra)


def _grids(places: dict[int, Localisation], shape: Sequence[int], size: tuple[int, ...], batch_axis: int) -> Iterator[_Candidate]:
    """Yield the assignments of the input's axes to axes of the tensor that the places support, the best first."""
    active = [axis for axis, length in enumerate(size) if length > 1]
    single = [axis for axis, length in enumerate(size) if length == 1]
    fit = {(axis, place): _agreement(found, axis, active) for place, found in places.items() for axis in active}
    found = []
    for chosen in itertools.permutations([axis for axis in range(len(shape)) if axis != batch_axis], len(active)):
        pairs = list(zip(active, chosen, strict=True))
        long = [pair for pair in pairs if shape[pair[1]] > 1]
        left = [axis for axis in range(len(shape)) if axis not in (*chosen, batch_axis)]
        # Axes of length 1 of the input are those of length 1 of the tensor, in order; those that are left are the channels.
        ones = [axis for axis in left if shape[axis] == 1][: len(single)]
        channels = [axis for axis in left if axis not in ones]
        if not long or len(ones) < len(single):
            continue
        of_spatial = dict(pairs) | dict(zip(single, ones, strict=True))
        spatial = [of_spatial[axis] for axis in range(len(size))]
        grid = [shape[axis] for axis in spatial]
        if not (has_one_scale(grid, size) or (len(long) == len(pairs) and has_whole_strides(grid, size))):
            continue
        correlation = min(fit[pair][0] for pair in long)
        quality = sum(fit[pair][1] for pair in long) / len(long) * max(correlation, 0) ** 2
        # Along an axis of three the order may be chance.
        sure = all(shape[axis] > SHORT for axis in chosen)
        found.append(
            _Candidate(
                _layout(len(shape), batch_axis, channels, spatial),
                tuple(sorted(chosen)),
                correlation,
                quality,
                False,
                SHARPER if sure else 0.0,
            )
        )
    yield from sorted(found, key=lambda candidate: -candidate.quality)


def _agreement(places: Localisation, axis: int, active: Sequence[int]) -> tuple[float, float]:
    """Return how well the elements' places along an axis of the input agree with their order: (correlation, score)."""
    # Tokens one after the other look from top to bottom, too, but each at one column; a row looks at all columns.
    if any(places.sharpness(other) > places.sharpness(axis) for other in active):
        return 0.0, 0.0
    order = torch.arange(places.length, dtype=torch.float32, device="cpu")
    correlation = weighted_correlation(places.centres(axis), order, places.weights)
    shares = places.shares(axis, places.length).diagonal().mean().item()
    if places.length <= SHORT and places.sharpness(axis) < SHARP:
        correlation = 0.0
    return correlation, shares


def _layout(rank: int, batch_axis: int, channels: Sequence[int], spatial: list[int]) -> Layout:
    if batch_axis == 0 and spatial == list(range(2, rank)):
        return ChannelsFirst()
    if batch_axis == 0 and spatial == list(range(1, rank - 1)):
        return ChannelsLast()
    letters = {batch_axis: "N"} | dict.fromkeys(channels, "C") | dict(zip(spatial, "DHW"[-len(spatial) :], strict=True))
    return AxisOrder(axes="".join(letters[axis] for axis in range(rank)))


def _sequences(
    places: dict[int, Localisation], size: tuple[int, ...], batch_axis: int, likely: Sequence[Layout], extra: int | None
) -> Iterator[_Candidate]:
    for axis in sorted(places, key=lambda axis: -places[axis].spread):
        rest = max((places[other].spread for other in places if other != axis), default=0.0)
        sharper = places[axis].spread / max(rest, 1e-6) if places[axis].length > SHORT else 0.0
        alike = (layout for layout in likely if isinstance(layout, Tokens) and (layout.axis, layout.batch_axis) == (axis, batch_axis))
        grids = [] if extra is not None else [layout.grid for layout in alike]
        for grid in [*dict.fromkeys(grids), None]:
            fits = [fit for fit in find_token_grids(places[axis], size, extra, grid) if _is_sharp(fit, places[axis])]
            if fits:
                best = fits[0]
                has_gap = best.gap[1] > 0 or len(places[axis].used) == 1
                yield _Candidate(_layout_of(best, axis, batch_axis), (axis,), best.correlation, best.quality, has_gap, sharper)
                if grid is not None and best.correlation >= CERTAIN and not positions_left_out(places[axis], best):
                    break


def _is_sharp(fit: TokenFit, places: Localisation) -> bool:
    short = [axis for axis, cells in enumerate(fit.grid) if 1 < cells <= SHORT]
    return all(places.sharpness(axis) >= SHARP for axis in short)


def _layout_of(fit: TokenFit, axis: int, batch_axis: int) -> Layout:
    """Return the layout of a fit on one axis of a tensor."""
    if len(fit.grid) == 1 and not fit.front + fit.gap[1] + fit.behind:  # a signal
        return _layout(3, batch_axis, [3 - axis - batch_axis], [axis])
    rows = tuple(range(len(fit.grid)))
    return Tokens(
        grid=fit.grid,
        front=fit.front,
        middle=fit.gap if fit.gap[1] else None,
        behind=fit.behind,
        axis=axis,
        batch_axis=batch_axis,
        order=None if fit.order == rows else fit.order,
    )


def _permuted_axis(responses: Responses, spreads: Mapping[int, float], size: tuple[int, ...], batch_axis: int) -> int | None:
    axes = [axis for axis in spreads if axis != batch_axis]
    if len(responses.shape) != 3 or not axes:
        return None
    best = max(axes, key=lambda axis: spreads[axis])
    return best if spreads[best] >= PERMUTED and grids_of(len(positions_among(responses, best)), size) else None


def positions_among(responses: Responses, axis: int) -> torch.Tensor:
    """Return the indices of the elements of an axis that look at a place; all, if more than a few do not."""
    weights = Localisation(responses.own[axis], responses.by_axis[axis]).weights
    looking = weights > HALF * weights.median()
    return looking.nonzero().flatten() if int((~looking).sum()) <= MAX_EXTRA_TOKENS else torch.arange(len(weights), device="cpu")


def grids_of(cells: int, size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the grids of exactly `cells` that an input of this size may have, the likeliest first: of one stride, or nearly."""

    def unlikeliness(grid: tuple[int, ...]) -> tuple[int, float, float]:
        strides = [length / count for length, count in zip(size, grid, strict=True)]
        plane = strides[-2:]  # time has a stride of its own
        return stride_grids(size).get(grid, 3), max(plane) / min(plane), max(strides) / min(strides)

    return sorted((grid for grid in proposed_grids(cells, size, 0) if max(grid) < cells or len(size) == 1), key=unlikeliness)


def agreement(layout: Layout, responses: Responses, finding: Finding, size: Sequence[int]) -> str:
    """Return in words what a measurement says against a layout that the user gives; "" if nothing."""
    if not finding.depends:
        return finding.reason
    shape = responses.shape
    numbers = torch.arange(math.prod(shape), dtype=torch.float64, device="cpu").reshape(shape)
    if finding.layout is not None:
        if _sees_the_same_places(layout, finding.layout, numbers, size):
            return ""
        return f"its elements look at the places of {reading_in_words(finding.layout, shape, size)}"
    if finding.permuted_axis is None:
        return ""
    # Tokens in an order of their own: the given one is right if the places of its cells are those of a grid.
    cells = layout.to_maps(numbers, size)[0, 0]
    if finding.permuted_axis == layout.batch_axis:
        return finding.reason
    tokens = torch.unravel_index(cells.flatten().round().long(), shape)[finding.permuted_axis]
    places = Localisation(responses.own[finding.permuted_axis])
    active = [axis for axis, length in enumerate(size) if length > 1]
    right = places.correlation(tokens, tuple(cells.shape), active) >= CONFIRMED
    return "" if right else finding.reason


def _sees_the_same_places(layout: Layout, measured: Layout, numbers: torch.Tensor, size: Sequence[int]) -> bool:
    """Return whether each cell of a layout's maps is made of elements of the measured cell, whatever their order as channels."""
    maps = measured.to_maps(numbers, size)
    cells = torch.arange(math.prod(maps.shape[2:]), dtype=torch.float64, device="cpu").view(maps.shape[2:])
    own = measured.from_maps(cells.expand(maps.shape), torch.full_like(numbers, -1), size)
    seen = layout.to_maps(own, size)
    return seen.shape[2:] == cells.shape and torch.allclose(seen, cells.expand(seen.shape), rtol=0, atol=1e-6)


def reading_in_words(layout: Layout, shape: Sequence[int], size: Sequence[int]) -> str:
    """Return how a layout reads a tensor of `shape`: "NLC + 1, a grid of 14x14"."""
    grid = layout.to_maps(torch.empty(tuple(shape), device="meta"), size).shape[2:]
    return f"{layout.reading(shape, size)}, a grid of {times(grid)}"


def readings_in_words(shape: Sequence[int], batch_axis: int, size: tuple[int, ...]) -> str:
    """Return what a sequence's shape may be read as, as the end of a sentence: "; by its shape it may be 197 tokens as 14x14 + 1"."""
    if len(shape) != 3:
        return ""
    found = []
    for axis in range(3):
        split = token_grid(shape[axis], size) if axis != batch_axis else None
        if split is not None:
            found.append(f"{shape[axis]} tokens as {times(split.grid)}{f' + {split.extra}' if split.extra else ''}")
    return f"; by its shape it may be {', or '.join(found)}" if found else ""
