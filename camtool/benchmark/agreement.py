"""Whether two contestants show the same maps, to a stated tolerance, where they should."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camtool.attribution.result import CAMResult, finished
from camtool.functional import min_max

TOLERANCE = 1e-4  # of maps in [0, 1]; float32, with sums in another order
TOLERANCES = {"fullgrad": 5e-3}
"""By method, where it is another: pytorch-grad-cam's FullGrad dims each of its terms by an epsilon, more where gradients are small."""
RANK_TOLERANCE = 0.01  # 1 - rank correlation: bfloat16 has three digits

EIGEN = ("eigencam", "eigengradcam")
"""A principal component has no sign; camtool's is set, theirs is arbitrary."""


@dataclass(frozen=True)
class Agreement:
    """How far a contestant's maps are from camtool's."""

    difference: float
    """The largest of maps in [0, 1]; or 1 - the lowest rank correlation of a map."""
    tolerance: float
    blank: int
    """Maps that are zero everywhere in both, and so prove nothing."""
    maps: int
    precision: str = "float32"
    """Of the network that was compared."""

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance; NaN is not."""
        return self.difference <= self.tolerance


def with_peer(results: Sequence[CAMResult], theirs: Sequence[Tensor], *, precision: str = "float32") -> Agreement:
    """Return how far a peer's maps are from ours: for each method of `results` the k maps (n, h, w) of its classes.

    Theirs are compared at their own size, the input's or that of the features; as they are, or scaled to reach 1, which
    pytorch-grad-cam's do not where gradients are small (and means of several maps do nowhere).
    """
    classes = results[0].maps.shape[1]
    pairs = []
    for number, result in enumerate(results):
        for k in range(classes):
            expected = theirs[number * classes + k].float().to(result.maps.device)
            (raw,) = result.raw.values()
            choices = [result.maps[:, k]]
            if expected.shape != result.maps[:, k].shape:
                choices = [min_max(raw[:, k].clamp(min=0))]
            elif result.method in EIGEN:
                choices = [finished({"": sign * raw}, result.maps.shape[2:]).maps[:, k] for sign in (1, -1)]
            pairs.append((choices, expected))
    by_sample = [
        torch.stack([(one - shown).abs().flatten(1).amax(dim=1) for one in choices for shown in (expected, min_max(expected))])
        for choices, expected in pairs
    ]
    blank = sum(int(((choices[0].flatten(1) == 0).all(dim=1) & (expected.flatten(1) == 0).all(dim=1)).sum()) for choices, expected in pairs)
    difference = torch.stack([differences.amin(dim=0).amax() for differences in by_sample]).amax()
    tolerance = max(TOLERANCES.get(result.method, TOLERANCE) for result in results)
    return Agreement(float(difference), tolerance, blank, sum(len(expected) for _, expected in pairs), precision)


def with_eager(fast: Sequence[CAMResult], eager: Sequence[CAMResult], *, ranks: bool) -> Agreement:
    """Return how far camtool's maps at higher speed are from its own; by their ranks where the precision is lower."""
    difference, blank, count = 0.0, 0, 0
    for one, other in zip(fast, eager, strict=True):
        ours, plain = one.maps.flatten(0, 1).flatten(1), other.maps.flatten(0, 1).flatten(1)
        both_blank = (ours == 0).all(dim=1) & (plain == 0).all(dim=1)
        distances = 1 - _rank_correlation(ours, plain) if ranks else (ours - plain).abs().amax(dim=1)
        difference = max(difference, float(distances[~both_blank].amax()) if bool((~both_blank).any()) else 0.0)
        blank, count = blank + int(both_blank.sum()), count + len(ours)
    return Agreement(difference, RANK_TOLERANCE if ranks else TOLERANCE, blank, count)


def _rank_correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Return Spearman's correlation of each row (n); ties, such as zeros, have their mean rank."""
    return torch.stack([torch.corrcoef(torch.stack([_ranks(one), _ranks(other)]))[0, 1] for one, other in zip(maps, others, strict=True)])


def _ranks(values: Tensor) -> Tensor:
    _, group, sizes = values.unique(return_inverse=True, return_counts=True)
    last = sizes.cumsum(0).double()
    return (last - (sizes.double() - 1) / 2)[group]
