"""Compare maps: camtool's with those of a peer, or those of faster computation, to a tolerance."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camtool.attribution.result import CAMResult, finished
from camtool.functional import min_max

TOLERANCE = 1e-4  # of maps in [0, 1]; rounding in float32
TOLERANCES = {"fullgrad": 5e-3}
"""Other tolerances, by method. FullGrad: pytorch-grad-cam adds an epsilon to the denominator of each term."""
RANK_TOLERANCE = 0.01  # 1 - rank correlation: bfloat16 has three digits

EIGEN = ("eigencam", "eigengradcam")
"""Methods whose maps are compared up to sign, which is arbitrary for a principal component in pytorch-grad-cam."""


@dataclass(frozen=True)
class Agreement:
    """Difference of a contestant's maps from camtool's."""

    difference: float
    """Largest difference of maps in [0, 1]; or 1 - the lowest rank correlation of a map."""
    tolerance: float
    blank: int
    """Number of maps that are zero everywhere in both."""
    maps: int
    """Number of maps."""
    precision: str = "float32"
    """Of the network."""

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance; NaN is not."""
        return self.difference <= self.tolerance


def with_peer(results: Sequence[CAMResult], theirs: Sequence[Tensor], *, precision: str = "float32") -> Agreement:
    """Return the difference of a peer's maps from ours.

    Maps are compared at the peer's size, which is the input's or that of the features; as they are, or scaled to [0, 1], whichever is
    closer, since pytorch-grad-cam's maps do not reach 1 if gradients are small, nor do means of several maps.

    Args:
        theirs: for each method of `results` and each of its k classes maps (n, h, w).
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
        torch.stack([(ours - peers).abs().flatten(1).amax(dim=1) for ours in choices for peers in (expected, min_max(expected))])
        for choices, expected in pairs
    ]
    blank = sum(int(((choices[0].flatten(1) == 0).all(dim=1) & (expected.flatten(1) == 0).all(dim=1)).sum()) for choices, expected in pairs)
    difference = torch.stack([differences.amin(dim=0).amax() for differences in by_sample]).amax()
    tolerance = max(TOLERANCES.get(result.method, TOLERANCE) for result in results)
    return Agreement(float(difference), tolerance, blank, sum(len(expected) for _, expected in pairs), precision)


def with_eager(fast: Sequence[CAMResult], eager: Sequence[CAMResult], *, ranks: bool) -> Agreement:
    """Return the difference of camtool's accelerated maps from its eager ones.

    Args:
        ranks: compare by rank correlation, for lower precision.
    """
    difference, blank, count = 0.0, 0, 0
    for fast_result, eager_result in zip(fast, eager, strict=True):
        maps, expected = fast_result.maps.flatten(0, 1).flatten(1), eager_result.maps.flatten(0, 1).flatten(1)
        both_blank = (maps == 0).all(dim=1) & (expected == 0).all(dim=1)
        distances = 1 - _rank_correlation(maps, expected) if ranks else (maps - expected).abs().amax(dim=1)
        difference = max(difference, float(distances[~both_blank].amax()) if bool((~both_blank).any()) else 0.0)
        blank, count = blank + int(both_blank.sum()), count + len(maps)
    return Agreement(difference, RANK_TOLERANCE if ranks else TOLERANCE, blank, count)


def _rank_correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Return Spearman's rank correlation (n) of each row; ties, such as zeros, have their mean rank."""
    return torch.stack([torch.corrcoef(torch.stack([_ranks(row), _ranks(other)]))[0, 1] for row, other in zip(maps, others, strict=True)])


def _ranks(values: Tensor) -> Tensor:
    _, group, sizes = values.unique(return_inverse=True, return_counts=True)
    last = sizes.cumsum(0).double()
    return (last - (sizes.double() - 1) / 2)[group]
