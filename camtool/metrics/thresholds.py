"""Which positions a map attends to: maps on one scale, Otsu's threshold, a fixed one."""

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from camtool.errors import NOT_FINITE, DataError, closest
from camtool.metrics.settings import number

Array: TypeAlias = np.ndarray | Tensor
Threshold: TypeAlias = str | float | int

OTSU = "otsu"
BINS = 256
_NUMBERS = "biufV"
"""Kinds of arrays; V: bfloat16 of others' packages, which NumPy converts."""


def scaled(maps: Array) -> np.ndarray:
    """Return maps (n, *spatial) with each sample's values scaled to [0, 1], in float64.

    Raises:
        DataError: if a map has no spatial axis, a value that is negative or not finite, or the same value everywhere.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import scaled
        >>> scaled(np.array([[2.0, 3.0, 6.0]]))
        array([[0.  , 0.25, 1.  ]])
    """
    values = finite_maps(maps)
    for sample, one in enumerate(values):
        if one.min() == one.max():
            raise DataError(f"Expected a map that differs between positions, got {one.max():.3g} everywhere in that of sample {sample}.")
    axes = tuple(range(1, values.ndim))
    # Halves: the range of the largest numbers is no number any more.
    low, high = values.min(axis=axes, keepdims=True) / 2, values.max(axis=axes, keepdims=True) / 2
    return (values / 2 - low) / (high - low)


def otsu_threshold(values: Array) -> float:
    """Return the least value that belongs to the upper of Otsu's two classes, from a histogram of 256 bins.

    Otsu 1979, doi:10.1109/TSMC.1979.4310076: the classes of the largest between-class variance w_0 w_1 (m_0 - m_1)^2, of several such the
    first. The bin's border between the classes: half a bin above the value of scikit-image's `threshold_otsu`, a bin's centre, above
    which M3d-Cam also counts values of that bin, which are of the lower class.

    Args:
        values: of any shape; all of them are taken together.

    Raises:
        DataError: if there is none, one is not finite, or they are all the same.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import otsu_threshold
        >>> values = np.array([0.0, 1.0, 8.0, 10.0])
        >>> values >= otsu_threshold(values)
        array([False, False,  True,  True])
    """
    flat = as_array(values, np.float64).ravel()
    if not flat.size or not np.isfinite(flat).all():
        raise DataError("Expected finite values for Otsu's threshold, got " + ("NaN or infinity." if flat.size else "none."))
    if flat.min() == flat.max():
        raise DataError(f"Expected values that differ for Otsu's threshold, got {flat.min():.3g} everywhere; try a fixed threshold.")
    counts, edges = np.histogram(flat, BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = len(flat) - below
    sums = np.cumsum(counts * centres)
    means_below, means_above = sums[:-1] / below, (sums[-1] - sums[:-1]) / above
    return float(edges[1:][np.argmax(below * above * (means_below - means_above) ** 2)])


def attended(maps: Array, threshold: Threshold = OTSU) -> np.ndarray:
    """Return where each map, scaled to [0, 1], reaches the threshold: booleans (n, *spatial).

    Args:
        maps: (n, *spatial), not negative.
        threshold: "otsu", that of each map, or a number from 0 to 1.

    Raises:
        DataError: as of `scaled`, or if there is no such threshold.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import attended
        >>> attended(np.array([[0.0, 1.0, 8.0, 10.0]])), attended(np.array([[0.0, 1.0, 8.0, 10.0]]), 0.9)
        (array([[False, False,  True,  True]]), array([[False, False, False,  True]]))
    """
    return reached(scaled(maps), threshold)


def reached(on_scale: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return where maps in [0, 1] reach the threshold; DataError if there is no such threshold."""
    if isinstance(threshold, str):
        if threshold != OTSU:
            raise DataError(f"No threshold '{threshold}'{closest(threshold, [OTSU])}; expected '{OTSU}' or a number from 0 to 1.")
        return np.stack([one >= otsu_threshold(one) for one in on_scale])
    expected = f"a threshold '{OTSU}' or from 0 to 1, the range of a scaled map"
    return on_scale >= number(threshold, expected, lambda value: 0 <= value <= 1)


def finite_maps(maps: Array, *, signed: bool = False) -> np.ndarray:
    """Return maps (n, *spatial) in float64, checked.

    Args:
        signed: whether values may be negative.

    Raises:
        DataError: if a map has no spatial axis, or a value that is not finite or, unless they may be, negative.
    """
    values = as_array(maps, np.float64)
    if values.ndim < 2 or 0 in values.shape:
        raise DataError(f"Expected maps (n, *spatial) with values in them, got shape {values.shape}.")
    for sample, one in enumerate(values):
        if not np.isfinite(one).all():
            raise DataError(f"Expected finite maps, got NaN or infinity in that of sample {sample}; leave it out.", status=NOT_FINITE)
        if not signed and one.min() < 0:
            raise DataError(
                f"Expected maps without negative values, got {one.min():.3g} in that of sample {sample}; try its positive part, or the "
                "absolute values of signed attributions."
            )
    return values


def as_array(values: Any, dtype: type | None = None) -> np.ndarray:
    """Return an array or a tensor on any device, with or without a gradient, as an array.

    Raises:
        DataError: if it is none of real numbers.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()  # numpy has no bfloat16
    try:
        found = np.asarray(values)
    except ValueError as error:  # lists of several lengths
        raise DataError(f"Expected an array or a tensor of numbers, got a {type(values).__name__} that is none: {error}.") from error
    if found.dtype.kind not in _NUMBERS:
        got = f"a {type(values).__name__}" if found.dtype.kind == "O" else found.dtype
        raise DataError(f"Expected an array or a tensor of real numbers, got {got}.")
    return np.asarray(found, dtype)


def as_tensor(values: Any) -> Tensor:
    """Return an array, in any order of bytes and with any steps between its values, or a tensor as a tensor of real numbers.

    Raises:
        DataError: if it is none of real numbers.
    """
    if isinstance(values, Tensor) and not values.is_complex():
        return values.detach()
    found = as_array(values)
    is_known = found.dtype.kind in "bf" and found.dtype.itemsize <= 8  # torch has no long double, and little of unsigned numbers
    dtype = found.dtype.newbyteorder("=") if is_known else np.int64 if found.dtype.kind in "iu" else np.float64
    return torch.from_numpy(np.ascontiguousarray(found, dtype))
