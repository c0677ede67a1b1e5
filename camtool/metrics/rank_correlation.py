"""Pearson's and Spearman's correlation of the rows of two arrays."""

import numpy as np
from jaxtyping import Float


def pearson(first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "n p"], *, undefined: float = np.nan) -> Float[np.ndarray, " n"]:
    """Return Pearson's correlation of each two rows, in [-1, 1]; `undefined` where one of them is constant.

    Example:
        >>> pearson(np.array([[0.0, 1.0, 5.0]]), np.array([[1.0, 3.0, 11.0]])).tolist()
        [1.0]
    """
    found = np.full(len(first), undefined)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if np.ptp(one) == 0 or np.ptp(other) == 0:
            continue
        centred = [values / np.abs(values).max() for values in (one - one.mean(), other - other.mean())]  # squares of small numbers are 0
        squares = [float(values @ values) for values in centred]
        found[number] = min(max(float(centred[0] @ centred[1]) / float(np.sqrt(squares[0] * squares[1])), -1.0), 1.0)
    return found


def spearman(first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
    """Return Spearman's rank correlation of each two rows, in [-1, 1]; NaN where one of them is constant.

    Equal values have the mean of their ranks; Spearman 1904, doi:10.2307/1412159.

    Example:
        >>> spearman(np.array([[0.0, 1.0, 5.0]]), np.array([[2.0, 3.0, 9.0]])).tolist()
        [1.0]
        >>> spearman(np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])).tolist()
        [-1.0, nan]
    """
    ranks = [np.stack([_ranks(values) for values in rows]) for rows in (first, second)]
    return pearson(ranks[0], ranks[1])


def _ranks(values: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])
