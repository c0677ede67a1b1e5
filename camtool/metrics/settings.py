"""Settings of metrics, checked: whole numbers, numbers, seeds, truth values and functions, of Python or of NumPy."""

import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from camtool.errors import DataError

_LARGEST_SEED = 2**63 - 1
_MOST = 2**31 - 1  # no count of passes, positions or bins is larger


def whole(value: Any, expected: str, least: int = 1, most: int = _MOST) -> int:
    """Return a whole number; DataError for anything else, or if it is out of range.

    Args:
        expected: in words what was expected.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics.settings import whole
        >>> whole(np.int64(3), "a step of at least 1 position")
        3
        >>> whole(1.5, "a step of at least 1 position")
        Traceback (most recent call last):
        ...
        camtool.errors.DataError: Expected a step of at least 1 position, got 1.5.
    """
    if _is_truth(value) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        raise DataError(f"Expected {expected}, got {value!r}.")
    return int(value)


def number(value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """Return a real number; DataError for anything else, or if it does not fit.

    Example:
        >>> from camtool.metrics.settings import number
        >>> number(1, "a radius above 0", lambda radius: radius > 0)
        1.0
    """
    if _is_truth(value) or not isinstance(value, numbers.Real) or not fits(float(value)):
        raise DataError(f"Expected {expected}, got {value!r}.")
    return float(value)


def several_numbers(values: Any, expected: str) -> list[float]:
    """Return some numbers; DataError for anything else.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics.settings import several_numbers
        >>> several_numbers(np.array([0.25, 0.5]), "fractions")
        [0.25, 0.5]
    """
    given = values.tolist() if isinstance(values, (Tensor, np.ndarray)) else values
    if not isinstance(given, Iterable):
        raise DataError(f"Expected {expected}, got {values!r}.")
    return [number(one, expected, np.isfinite) for one in given]


def checked_seed(value: Any) -> int:
    """Return a seed of random numbers; DataError if it is no whole number of 64 bits.

    Example:
        >>> from camtool.metrics.settings import checked_seed
        >>> checked_seed(7)
        7
    """
    return whole(value, "a seed as a whole number of 64 bits", -_LARGEST_SEED, _LARGEST_SEED)


def truth(value: Any, name: str) -> bool:
    """Return a truth value; DataError for anything else.

    Example:
        >>> from camtool.metrics.settings import truth
        >>> truth(True, "scale")
        True
    """
    if not _is_truth(value):
        raise DataError(f"Expected {name} as True or False, got {value!r}.")
    return bool(value)


def callable_of(value: Any, expected: str) -> Any:
    """Return a function; DataError for anything else.

    Example:
        >>> from camtool.metrics.settings import callable_of
        >>> callable_of(max, "a function of maps")([1, 2])
        2
    """
    if not callable(value):
        raise DataError(f"Expected {expected}, got {value!r}.")
    return value


def sizes_of(values: Any, expected: str) -> list[int]:
    """Return sizes along axes, each at least 1; DataError for anything else.

    Example:
        >>> from camtool.metrics.settings import sizes_of
        >>> sizes_of((2, 3), "a grid")
        [2, 3]
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataError(f"Expected {expected}, got {values!r}.")
    return [whole(one, expected) for one in values]


def _is_truth(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))
