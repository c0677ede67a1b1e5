"""Pearson's r with its p, and the area under the ROC curve: pure functions of two columns."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

_CONSTANT = 1e-12  # share of the largest value below which differences are float64's rounding


@dataclass(frozen=True)
class Correlation:
    """Pearson's r of two columns."""

    r: float
    p: float
    """Probability of so large an |r| if the columns were independent and normal, two-sided."""
    count: int
    """Number of pairs."""
    reason: str = ""
    """Why r is NaN."""


def pearson(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> Correlation:
    """Return Pearson's r of the pairs that are finite, in [-1, 1], with its p; NaN and a reason where it is not defined.

    Example:
        >>> import numpy as np
        >>> found = pearson(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 4.0, 3.0]))
        >>> round(found.r, 6), round(found.p, 6), found.count
        (0.6, 0.4, 4)
    """
    from scipy.special import betainc  # comes with scikit-learn

    finite = np.isfinite(first) & np.isfinite(second)
    pairs = np.stack([first[finite], second[finite]]).astype(np.float64)
    count = pairs.shape[1]
    if count < 3:
        return Correlation(math.nan, math.nan, count, f"{count} sample{'' if count == 1 else 's'}; expected at least 3")
    large = np.abs(pairs).max(axis=1, keepdims=True)
    pairs = pairs / np.where(large > 0, large, 1)
    centred = pairs - pairs.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    if (lengths <= _CONSTANT * math.sqrt(count)).any():
        return Correlation(math.nan, math.nan, count, "all values are equal")
    unit = centred / lengths[:, None]
    r = float(np.clip(unit[0] @ unit[1], -1, 1))
    # Student's t with n - 2 degrees of freedom, by the incomplete beta function.
    return Correlation(r, float(betainc(count / 2 - 1, 0.5, 1 - r * r)), count)


def auroc(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Return the probability that a positive sample has the higher score than a negative one, ties counted half; NaN without both.

    Example:
        >>> import numpy as np
        >>> auroc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
        0.875
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return math.nan
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1, the mean of ties
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
