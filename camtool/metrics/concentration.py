"""How few positions a map is about, whatever they are: sparseness and complexity. No mask says whether they are the right ones."""

import numpy as np

from camtool.errors import DataError
from camtool.metrics.thresholds import Array, finite_maps


def sparseness(maps: Array) -> np.ndarray:
    """Return of each map the Gini index of its absolute values: 0 if all are equal, (N - 1)/N if one of N is not 0.

    sum over k of (2 k - N - 1) v_k / (N sum v), v ascending. Chalasani et al. 2020, arXiv:1810.06583. Of the map alone: it cannot tell the
    truth from a sparse mistake. It is not monotone: a map that fades from an object to uniform noise first falls and at last rises a
    little, to the 1/3 of such noise, and one that fades to sparse noise need not fall at all.

    Args:
        maps: (n, *spatial), of any sign and scale.

    Raises:
        DataError: if a map is 0 everywhere or not finite.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import sparseness
        >>> sparseness(np.array([[2.0, 2.0, 2.0, 2.0], [0.0, 0.0, -7.0, 0.0], [0.0, 0.0, 1.0, 3.0]]))
        array([0.   , 0.75 , 0.625])
    """
    ascending = np.sort(_shares(maps), axis=1)
    size = ascending.shape[1]
    return np.asarray(ascending @ (2 * np.arange(1, size + 1) - size - 1) / size)


def complexity(maps: Array) -> np.ndarray:
    """Return of each map the entropy of the shares |m| / sum |m|, in nats: 0 if one position has all, log N if all N are equal.

    Bhatt et al. 2020, arXiv:2005.00631. Lower is simpler. Of the map alone, and not monotone, as `sparseness`.

    Args:
        maps: (n, *spatial), of any sign and scale.

    Raises:
        DataError: if a map is 0 everywhere or not finite.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import complexity
        >>> np.exp(complexity(np.array([[2.0, -2.0, 0.0, 2.0]]))).round(6)  # as many positions as that are alike
        array([3.])
    """
    shares = _shares(maps)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=1)) + 0.0  # no -0


def _shares(maps: Array) -> np.ndarray:
    magnitudes = np.abs(finite_maps(maps, signed=True)).reshape(len(maps), -1)
    highest = magnitudes.max(axis=1, keepdims=True)
    for sample in np.flatnonzero(highest == 0):
        raise DataError(f"Expected a map with a value other than 0, got 0 everywhere in that of sample {sample}; leave it out.")
    magnitudes /= highest
    return np.asarray(magnitudes / magnitudes.sum(axis=1, keepdims=True))
