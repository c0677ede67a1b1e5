"""How alike sets of maps are: energy distance."""

import numpy as np
import torch
from jaxtyping import Float

_CHUNK = 512  # maps whose distances to all others are in memory at once


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


def _mean_distance(first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "m p"]) -> float:
    total = 0.0
    others = torch.from_numpy(np.ascontiguousarray(second)).double()
    for start in range(0, len(first), _CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(first[start : start + _CHUNK])).double()
        # Without the matrix product, whose rounding would leave equal maps apart.
        total += float(torch.cdist(part, others, compute_mode="donot_use_mm_for_euclid_dist").sum())
    return total / (len(first) * len(second))
