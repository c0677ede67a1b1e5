"""Orientation: which axes and flips turn a volume's axes towards given directions."""

from collections.abc import Sequence

import numpy as np

from camtool.errors import ConfigError
from camtool.io.volumes.volume import Geometry

_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}


def check_orientation(letters: object, name: str) -> str:
    """Return three letters of directions, in capitals.

    Args:
        name: of the setting, for the message.

    Raises:
        ConfigError: if they are not one each of R or L, A or P, S or I.
    """
    folded = letters.upper() if isinstance(letters, str) else ""
    if len(folded) != 3 or {frozenset((letter, _OPPOSITE.get(letter, ""))) for letter in folded} != set(map(frozenset, _OPPOSITE.items())):
        raise ConfigError(
            f"'{name}' must say where the axes lead, one letter each of R or L, A or P, S or I, such as 'RAS', got {letters!r}."
        )
    return folded


def axes_towards(geometry: Geometry, letters: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return, for each axis of a volume turned to `letters`, the axis of `geometry` that it is, and whether it is reversed.

    Oblique axes count as their nearest directions.

    Args:
        letters: where the axes are to lead, "RAS", "LPS" …

    Example:
        >>> import numpy as np
        >>> from camtool.io.volumes import Geometry
        >>> axes_towards(Geometry(np.diag([-1.0, 1.0, 1.0, 1.0])), "ASR")
        ((1, 2, 0), (False, False, True))
    """
    own = geometry.letters
    x, y, z = ((own + "".join(_OPPOSITE[letter] for letter in own)).index(letter) for letter in letters)
    return (x % 3, y % 3, z % 3), (x >= 3, y >= 3, z >= 3)


def turned(values: np.ndarray, axes: Sequence[int], flips: Sequence[bool]) -> np.ndarray:
    """Return a view of a volume whose axes are `axes` of it, reversed where `flips` says so.

    Example:
        >>> turned(np.array([[1, 2, 3]]), (1, 0), (True, False)).tolist()
        [[3], [2], [1]]
    """
    return np.flip(values.transpose(axes), tuple(axis for axis, flip in enumerate(flips) if flip))
