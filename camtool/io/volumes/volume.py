"""Geometry and Volume: voxels in the order (x, y, z), and the affine matrix from their indices to millimetres."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camtool.errors import ImageError

_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
_FLAT = 1e-6
"""The volume that three directions span, below which they lie in a plane."""


TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From coordinates towards left and posterior, as DICOM's and ITK's, to those towards right and anterior, or back."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where voxels lie: the affine matrix from an index (x, y, z) to millimetres towards right, anterior and superior (RAS+).

    Args:
        affine: (4, 4), its last row (0, 0, 0, 1).

    Raises:
        ImageError: if the matrix has another shape, is not finite, or has no inverse.

    Example:
        >>> import numpy as np
        >>> from camtool.io.volumes import Geometry
        >>> geometry = Geometry(np.diag([-2.0, 1.0, 3.0, 1.0]))
        >>> geometry.spacing, geometry.letters
        ((2.0, 1.0, 3.0), 'LAS')
    """

    affine: np.ndarray
    oriented: bool = True
    """Whether it is known where the axes lead; False: only the size of voxels is, and the matrix is one of many."""

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise ImageError(f"Expected a finite affine matrix (4, 4) with (0, 0, 0, 1) as its last row, got {affine.tolist()}.")
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        # Of directions, not of steps: voxels of a micrometre have an inverse, too.
        if steps.min() == 0 or abs(np.linalg.det(affine[:3, :3] / steps)) < _FLAT:
            raise ImageError("Expected an affine matrix with an inverse, got one whose axes span no volume.")
        object.__setattr__(self, "affine", affine)

    @classmethod
    def of_spacing(cls, spacing: Sequence[int | float], *, oriented: bool = True) -> "Geometry":
        """Return the geometry of voxels of this size in millimetres, the axes towards right, anterior and superior.

        Args:
            oriented: whether that is known.
        """
        return cls(np.diag([*map(float, spacing), 1.0]), oriented)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a voxel in millimetres, by axis."""
        x, y, z = (float(np.linalg.norm(self.affine[:3, axis])) for axis in range(3))
        return x, y, z

    @property
    def letters(self) -> str:
        """Where each axis leads, by its nearest direction: "RAS", "LPS" …; each direction is named once."""
        directions = self.affine[:3, :3] / np.asarray(self.spacing)
        letters = ["", "", ""]
        free_axes, free_directions = [0, 1, 2], [0, 1, 2]
        while free_axes:  # the clearest axis chooses first, so that oblique ones do not take one direction twice
            part = np.abs(directions[np.ix_(free_directions, free_axes)])
            row, column = np.unravel_index(np.argmax(part), part.shape)
            direction, axis = free_directions.pop(int(row)), free_axes.pop(int(column))
            letters[axis] = _LETTERS[direction][int(directions[direction, axis] > 0)]
        return "".join(letters)

    def world(self, indices: np.ndarray) -> np.ndarray:
        """Return the positions (…, 3) in millimetres of indices (…, 3)."""
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def distance(self, other: "Geometry", shape: Sequence[int]) -> float:
        """Return how far a voxel of a volume of this shape lies from where `other` puts it, at most, in voxels."""
        corners = np.array(np.meshgrid(*[(0, side - 1) for side in shape], indexing="ij"), np.float64).reshape(3, -1).T
        inverse = np.linalg.inv(self.affine)
        there = other.world(corners) @ inverse[:3, :3].T + inverse[:3, 3]
        return float(np.abs(there - corners).max())


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels, and where they lie.

    Args:
        values: (x, y, z) in the order of the file's axes as nibabel gives it, rescaled as the file says.
        geometry: of the indices of `values`; None: the file says nothing of it.
        name: in reports and file names; a file's path.
        kind: the suffix of the format it was read from, ".nii.gz", ".mha", ".nrrd"; ".dcm" for a series; "" if it was no file.
        header: of the file, as its format's reader gives it, for files of the same format.
    """

    values: np.ndarray
    geometry: Geometry | None
    name: str
    kind: str = ""
    header: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or 0 in self.values.shape:
            raise ImageError(f"Expected a volume (x, y, z), got values of shape {self.values.shape} from '{self.name}'.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels by axis."""
        x, y, z = self.values.shape
        return x, y, z
