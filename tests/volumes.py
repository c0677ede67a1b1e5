"""Volumes for tests: the 48 ways to store one anatomy, random geometries, and a head whose left is known."""

import itertools

import numpy as np

from camtool.io.volumes import Geometry, Volume

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))
"""(order of the axes, which are reversed)."""


def stored(values: np.ndarray, affine: np.ndarray, axes: tuple[int, ...], flips: tuple[bool, ...]) -> tuple[np.ndarray, Geometry]:
    """Return the same anatomy with its voxels in another order: axis k of it is `axes[k]` of `values`, reversed where flips[k]."""
    turn = np.zeros((4, 4))  # from the new index to the old one
    turn[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        turn[old, new] = -1 if flip else 1
        turn[old, 3] = values.shape[old] - 1 if flip else 0
    kept = np.flip(values.transpose(axes), [axis for axis, flip in enumerate(flips) if flip])
    return np.ascontiguousarray(kept), Geometry(affine @ turn)


def random_geometry(random: np.random.Generator, *, oblique: float = 0.3) -> Geometry:
    """Return a geometry of any of the 48 orientations, voxels of 0.6 to 2 mm, turned by up to `oblique` about each axis."""
    axes, flips = ORIENTATIONS[random.integers(48)]
    directions = np.zeros((3, 3))
    for axis, (direction, flip) in enumerate(zip(axes, flips, strict=True)):
        directions[direction, axis] = -1 if flip else 1
    for first, second in ((0, 1), (0, 2), (1, 2)):
        turn, angle = np.eye(3), random.uniform(-oblique, oblique)
        turn[[first, first, second, second], [first, second, first, second]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        directions = turn @ directions
    affine = np.eye(4)
    affine[:3, :3] = directions * random.uniform(0.6, 2, 3)
    affine[:3, 3] = random.uniform(-50, 50, 3)
    return Geometry(affine)


def world_of(volume: Volume) -> np.ndarray:
    """Return the position of every voxel in millimetres, (x, y, z, 3)."""
    assert volume.geometry is not None
    return volume.geometry.world(np.stack(np.indices(volume.shape), axis=-1).astype(np.float64))


def head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a head-like scan (x, y, z), a map over it and the affine, axes to the right, anterior and superior, voxels of 2, 2, 3 mm.

    A shell with a nose in front and a bright ball at the patient's left, behind and above the middle; there is the map's maximum.
    """
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = -60, -72, -60
    x, y, z = np.moveaxis(np.stack(np.indices((61, 73, 41)), axis=-1) @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    radius = np.sqrt((x / 52) ** 2 + (y / 62) ** 2 + (z / 54) ** 2)
    scan = 300.0 * (radius < 1) + 500.0 * ((radius > 0.88) & (radius < 1))
    nose = (np.abs(x) < 8) & (y > 50) & (y < 70) & (z > -24) & (z < 0)
    ball = np.sqrt((x + 24) ** 2 + (y + 16) ** 2 + (z - 18) ** 2)
    scan = np.where(nose, 700, scan) + 600.0 * (ball < 9)
    saliency = np.exp(-0.5 * (ball / 12) ** 2)
    return scan.astype(np.float32), saliency.astype(np.float32), affine
