"""Kinds of shapes by signed distance function, in one to three dimensions: those of the classes, and distractors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

Points: TypeAlias = Float[np.ndarray, "rank *spatial"]
"""Coordinates in the shape's frame: the centre at 0, the first coordinate along its axis."""
Field: TypeAlias = Float[np.ndarray, "*spatial"]


@dataclass(frozen=True)
class Kind:
    """A signed distance (inside where <= 0), and the opacity of the inside in [0, 1]; None: 1 everywhere."""

    distance: Callable[[Points], Field]
    shade: Callable[[Points], Field] | None = None


def _norm(points: Points) -> Field:
    return np.sqrt(np.square(points).sum(axis=0))


def _along_axis(points: Points, offset: float) -> Points:
    moved = points.copy()
    moved[0] -= offset
    return moved


def _ball(points: Points) -> Field:
    return _norm(points) - 1


def _shell(points: Points) -> Field:
    return np.abs(_norm(points) - 0.7) - 0.3


def _thin_shell(points: Points) -> Field:
    return np.abs(_norm(points) - 0.8) - 0.2


def _cube(points: Points) -> Field:
    return np.abs(points).max(axis=0) - 1


def _simplex(points: Points) -> Field:
    """Return the signed distance to a triangle or tetrahedron with corners at distance 1 from the centre."""
    rank = len(points)
    # rank + 1 unit normals at equal angles: those of rank - 1 dimensions, tilted away from the new axis, and that axis.
    normals = np.array([[1.0], [-1.0]])
    for axes in range(2, rank + 1):
        tilted = np.sqrt(1 - 1 / axes**2) * normals
        normals = np.vstack([np.eye(1, axes), np.column_stack([np.full(axes, -1 / axes), tilted])])
    sides = [sum(float(component) * points[axis] for axis, component in enumerate(normal)) for normal in normals]
    return np.max(sides, axis=0) - 1 / rank


def _cross(points: Points) -> Field:
    extents = np.sort(np.abs(points), axis=0)
    return np.maximum(extents[-1] - 1, extents[-2] - 0.3)


def _bar(points: Points) -> Field:
    extents = np.abs(points)
    return np.maximum(extents[0] - 1, extents[1:].max(axis=0) - 0.4)


def _pair(points: Points) -> Field:
    return np.minimum(_norm(_along_axis(points, 0.5)), _norm(_along_axis(points, -0.5))) - 0.5


def _crescent(points: Points) -> Field:
    return np.maximum(_norm(points) - 1, 0.7 - _norm(_along_axis(points, 0.55)))


def _triple(points: Points) -> Field:
    return np.minimum(np.abs(_norm(points) - 0.8), _norm(points)) - 0.2


def _rising(points: Points) -> Field:
    return np.clip((1 + points[0]) / 2, 0, 1)


def _falling(points: Points) -> Field:
    return np.clip(1 - _norm(points), 0, 1)


def _stepped(points: Points) -> Field:
    return np.where(points[0] > 0, 1, 0.5).astype(points.dtype)


CLASSES: Mapping[int, Mapping[str, Kind]] = {
    1: {"box": Kind(_ball), "double": Kind(_shell), "ramp": Kind(_ball, _rising), "tent": Kind(_ball, _falling)},
    2: {"cross": Kind(_cross), "disc": Kind(_ball), "ring": Kind(_shell), "square": Kind(_cube), "triangle": Kind(_simplex)},
    3: {"ball": Kind(_ball), "cross": Kind(_cross), "cube": Kind(_cube), "shell": Kind(_thin_shell), "tetrahedron": Kind(_simplex)},
}
"""Shapes of the classes, by rank and name. In one dimension, classes differ by profile rather than by silhouette."""

DISTRACTORS: Mapping[int, Mapping[str, Kind]] = {
    1: {"stairs": Kind(_ball, _stepped), "triple": Kind(_triple)},
    2: {"bar": Kind(_bar), "crescent": Kind(_crescent), "pair": Kind(_pair)},
    3: {"bar": Kind(_bar), "crescent": Kind(_crescent), "pair": Kind(_pair)},
}
"""Shapes of no class, by rank and name."""


@cache
def unit_of(kind: Kind, rank: int) -> tuple[float, float]:
    """Return (unit, reach): the scale at which a kind has the volume of the unit ball, and its largest radius at that scale.

    Measured on a grid, to about 1 %.
    """
    count = {1: 3000, 2: 600, 3: 120}[rank]  # cells that divide all lengths above
    axis = (np.arange(count) + 0.5) * (3 / count) - 1.5
    points = np.stack(np.meshgrid(*[axis] * rank, indexing="ij"))
    inside, ball = kind.distance(points) <= 0, _ball(points) <= 0
    unit = float((ball.sum() / inside.sum()) ** (1 / rank))
    return unit, unit * float(_norm(points)[inside].max())
