"""Responses of a tensor's elements to disturbed slabs of the input, and where along the input's axes each element looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor


@dataclass
class Responses:
    """Squared changes of one tensor's elements, by axis of the tensor; empty for axes of length 1."""

    shape: tuple[int, ...]
    eps: float
    """Rounding of the tensor's type."""
    by_axis: list[list[Tensor]]
    """`by_axis[axis][spatial]`: (length, slabs), mean squared change of each element of an axis to each slab along a spatial axis."""
    own: list[list[Tensor]]
    """The same, less the mean change of all elements of the axis: what an element does not share with the others."""
    unrest: list[Tensor]
    """By axis (length): mean squared difference of two passes without disturbance."""
    scale: list[Tensor]
    """By axis (length): mean square of the values."""

    def without_numbers(self) -> "Responses":
        """Return the shape alone."""
        return Responses(self.shape, self.eps, [], [], [], [])

    def answers(self) -> bool:
        """Return whether anything changes by more than rounding."""
        largest = max((float(part.amax()) for parts in self.by_axis for part in parts if part.numel()), default=0.0)
        scale = max((float(part.mean()) for part in self.scale if part.numel()), default=0.0)
        return largest > (4 * self.eps) ** 2 * scale

    def batch_axis(self) -> int | None:
        """Return the axis of the samples, of which the first was disturbed; None if there is none.

        Of a pass of one sample, the first axis of length 1; of several, the one on which nothing but the first element answers.
        """
        if 1 in self.shape:
            return self.shape.index(1)
        for axis, parts in enumerate(self.by_axis):
            answers = [part.sum(dim=1) for part in parts if part.numel()]
            if answers and all(bool((part[1:] == 0).all()) and bool(part[0] > 0) for part in answers):
                return axis
        return None

    def unrest_share(self) -> float:
        """Return the largest difference of two undisturbed passes as a share of the answers."""
        shares = [
            float(unrest.mean() / max(sum(float(part.amax(dim=1).mean()) for part in parts if part.numel()), 1e-38))
            for unrest, parts in zip(self.unrest, self.by_axis, strict=True)
            if unrest.numel()
        ]
        return max(shares, default=0.0)


CONFIRMED = 0.7
"""Least correlation of the places of the elements with the coordinates that a reading gives them."""
PERMUTED = 1.5
"""Spread from which the elements of a sequence each look at a place of their own, if in no order that is known."""
MOST_SHARES = 500_000
"""Number of elements times cells up to which what each element answers to each cell is kept."""
WEAK = 0.1
"""Share of the answer of most elements below which an element hardly answers."""


class Localisation:
    """Where the elements of one axis look.

    Args:
        responses: (length, slabs) by spatial axis; empty for axes of length 1.
        whole: where `responses` are what an element does not share with the others, the responses with that.
    """

    def __init__(self, responses: Sequence[Tensor], whole: Sequence[Tensor] | None = None) -> None:
        self._responses = responses
        self._whole = responses if whole is None else whole
        self.length = len(responses[0])
        self.used = [axis for axis, part in enumerate(responses) if part.ndim > 1 and part.shape[1]]
        """Axes of the input that are longer than 1."""
        self._shares: dict[tuple[int, int], Tensor] = {}

    @cached_property
    def _profiles(self) -> list[Tensor]:
        """(length, slabs): each element's answers less its smallest, as shares of their sum."""
        profiles = []
        for responses in self._responses:
            above = responses - responses.amin(dim=1, keepdim=True) if responses.shape[1] else responses
            total = above.sum(dim=1, keepdim=True)
            even = 1 / max(responses.shape[1], 1)
            profiles.append(torch.where(total > 0, above / total.clamp(min=torch.finfo(torch.float32).tiny), even))
        return profiles

    @cached_property
    def weights(self) -> Tensor:
        """(length): how much of an element's answer depends on the slab, in [0, 1], relative to most others.

        Low for an element that answers to every slab alike, and for one that hardly answers.
        """
        weights = _answering(self._responses)
        # An element that never answers has not what the others share, so that its own part seems to answer.
        return weights if self._whole is self._responses else torch.minimum(weights, _answering(self._whole))

    def shares(self, axis: int, cells: int) -> Tensor:
        """Return (length, cells): how much more each element answers to the slabs of a cell of this axis than to all alike."""
        if (axis, cells) not in self._shares:
            profile = self._profiles[axis]
            slabs = profile.shape[1]
            overlap = _overlap(cells, slabs)
            self._shares[axis, cells] = self.weights.unsqueeze(1) * (slabs * profile @ overlap.T - 1)
        return self._shares[axis, cells]

    def gains(self, axis: int, cells: int, elements: Tensor, coordinates: Tensor) -> Tensor:
        """Return `shares(axis, cells)[elements, coordinates]`, of long sequences without the others."""
        if self.length * cells <= MOST_SHARES or (axis, cells) in self._shares:
            return self.shares(axis, cells)[elements, coordinates]
        profile, overlap = self._profiles[axis], _overlap(cells, self._profiles[axis].shape[1])
        own = torch.stack([(profile[row] * overlap[coordinates]).sum(dim=1) for row in elements])
        return self.weights[elements] * (profile.shape[1] * own - 1)

    @cached_property
    def typical(self) -> float:
        """The median over the elements of how much more each answers to its own slab than to all alike."""
        gains = [profile.amax(dim=1) * profile.shape[1] - 1 for profile in self._profiles if profile.shape[1]]
        return float((self.weights * torch.stack(gains).mean(dim=0)).median())

    def row_score(self, axis: int, cells: int) -> float:
        """Return the best mean score of a sequence of rows of `cells` elements along an axis, over all starts of the first row."""
        shares = self.shares(axis, cells)
        whole = self.length // cells * cells
        # (cells, cells): the sum of the elements that are the same number of steps into a row, at each cell.
        folded = shares[:whole].unflatten(0, (-1, cells)).sum(dim=0)
        folded[: self.length - whole] += shares[whole:]
        steps = torch.arange(cells, device="cpu")
        return folded[steps, (steps - steps.unsqueeze(1)) % cells].sum(dim=1).max().item() / self.length

    def sharpness(self, axis: int) -> float:
        """Return how much larger the largest answer of an element is than its mean answer, less one: mean over the elements."""
        responses = self._responses[axis]
        mean = responses.mean(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        return float((responses.amax(dim=1) / mean - 1).mean()) if responses.shape[1] else 0.0

    @cached_property
    def spread(self) -> float:
        """How much more of the answer of each element is in its largest slab than of all together, in slabs; the least of all axes.

        Large where each element looks elsewhere; near 0 where all look at one place, or everywhere.
        """
        spreads = []
        for responses in self._responses:
            slabs = responses.shape[1]
            if slabs:
                shares = responses / responses.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
                spreads.append(float(slabs * (shares.amax(dim=1).mean() - shares.mean(dim=0).amax())))
        return min(spreads, default=0.0)

    def centres(self, axis: int) -> Tensor:
        """Return (length): the centroid of each element's answers along one axis, in slabs."""
        profile = self._profiles[axis]
        return profile @ torch.arange(profile.shape[1], dtype=profile.dtype, device="cpu")

    def neighbourhood(self) -> float:
        """Return how much elements next to each other look at one place: the largest correlation over axes, weighted."""
        weights = (self.weights[1:] * self.weights[:-1]).sqrt()
        used = [axis for axis, responses in enumerate(self._responses) if responses.shape[1]]
        centres = [self.centres(axis) for axis in used]
        return max((weighted_correlation(places[1:], places[:-1], weights) for places in centres), default=0.0)

    def correlation(self, kept: Tensor, grid: Sequence[int], active: Sequence[int]) -> float:
        """Return the smallest correlation over axes between the centroids of the elements `kept` and the coordinates of the cells."""
        coordinates = torch.unravel_index(torch.arange(len(kept), device="cpu"), tuple(grid))
        smallest = 1.0
        for axis in active:
            if grid[axis] > 1:
                smallest = min(smallest, weighted_correlation(self.centres(axis)[kept], coordinates[axis].float(), self.weights[kept]))
        return smallest


def _answering(responses: Sequence[Tensor]) -> Tensor:
    """Return (length): how much the answers of each element depend on the slab, relative to most others."""
    tiny = torch.finfo(torch.float32).tiny
    used = [part for part in responses if part.shape[1]]
    total = torch.stack([part.sum(dim=1) for part in used]).sum(dim=0)
    above = torch.stack([(part - part.amin(dim=1, keepdim=True)).sum(dim=1) for part in used]).sum(dim=0)
    share = above / total.clamp(min=tiny)
    share = (share / share.quantile(0.9).clamp(min=tiny)).clamp(max=1)
    return share * above / (above + WEAK * above.quantile(0.9)).clamp(min=tiny)


def weighted_correlation(first: Tensor, second: Tensor, weights: Tensor) -> float:
    """Return the correlation of two series (m) with weights (m); 0 if one of them is constant."""
    weights = weights / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
    first, second = first - (weights * first).sum(), second - (weights * second).sum()
    product = (weights * first * second).sum()
    norm = ((weights * first**2).sum() * (weights * second**2).sum()).sqrt()
    return (product / norm).item() if norm > 0 else 0.0


@cache
def _overlap(cells: int, slabs: int) -> Tensor:
    """Return (cells, slabs): the share of each cell that lies in each slab."""
    starts, ends = torch.arange(cells, device="cpu").unsqueeze(1) / cells, torch.arange(1, cells + 1, device="cpu").unsqueeze(1) / cells
    lower, upper = torch.arange(slabs, device="cpu") / slabs, torch.arange(1, slabs + 1, device="cpu") / slabs
    return (torch.minimum(ends, upper) - torch.maximum(starts, lower)).clamp(min=0) * cells
