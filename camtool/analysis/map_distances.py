"""How alike maps are: rank correlation of two maps, energy distance of two sets of maps."""

import numpy as np
import torch
from jaxtyping import Float

_CHUNK = 512  # maps whose distances to all others are in memory at once


def spearman(first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
    """Return Spearman's rank correlation of each two maps, in [-1, 1]; NaN where one of them is constant.

    Equal values have the mean of their ranks; Spearman 1904, doi:10.2307/1412159.

    Example:
        >>> spearman(np.array([[0.0, 1.0, 5.0]]), np.array([[2.0, 3.0, 9.0]])).tolist()
        [1.0]
        >>> spearman(np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])).tolist()
        [-1.0, nan]
    """
    found = np.full(len(first), np.nan)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        ranks = [_centred_ranks(values) for values in (one, other)]
        squares = [float(values @ values) for values in ranks]
        if min(squares) > 0:  # of the product one root: equal maps have exactly 1
            found[number] = min(max(float(ranks[0] @ ranks[1]) / float(np.sqrt(squares[0] * squares[1])), -1.0), 1.0)
    return found


def energy_distance(first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "m p"]) -> float:
    """Return the energy distance of two sets of maps: 0 for the same set, larger the more their distributions differ.

    sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|) with Euclidean distances of whole maps, and means over all pairs, a map with itself
    included; Székely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.

    Example:
        >>> round(energy_distance(np.zeros((2, 3)), np.full((5, 3), 2.0)), 6)  # all pairs are sqrt(12) apart
        2.632148
        >>> energy_distance(np.eye(3), np.eye(3)[::-1])
        0.0
    """
    between, within, also = _mean_distance(first, second), _mean_distance(first, first), _mean_distance(second, second)
    return float(np.sqrt(max(2 * between - within - also, 0.0)))


def _centred_ranks(values: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    return ranks - ranks.mean()


def _mean_distance(first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "m p"]) -> float:
    total = 0.0
    others = torch.from_numpy(np.ascontiguousarray(second)).double()
    for start in range(0, len(first), _CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(first[start : start + _CHUNK])).double()
        # Without the matrix product, whose rounding would leave equal maps apart.
        total += float(torch.cdist(part, others, compute_mode="donot_use_mm_for_euclid_dist").sum())
    return total / (len(first) * len(second))
