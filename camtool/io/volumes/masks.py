"""Masks of a scan: on the same voxels, or put on them by the nearest neighbour."""

import numpy as np

from camtool.errors import ImageError, times
from camtool.io.volumes.volume import Volume

_APART = 1e-3  # of a voxel


def check_same_geometry(mask: Volume, scan: Volume) -> None:
    """Raise ImageError unless a mask lies on the voxels of a scan: of the same size, and to 1e-3 of a voxel in the same place.

    Of files that do not say where they lie, sizes alone are compared.

    Example:
        >>> from camtool.io.volumes import Geometry
        >>> scan = Volume(np.zeros((2, 3, 4)), Geometry.of_spacing((1, 1, 2)), "scan.nii")
        >>> check_same_geometry(Volume(np.zeros((2, 3, 4)), Geometry.of_spacing((1, 1, 3)), "mask.nii"), scan)
        Traceback (most recent call last):
            ...
        camtool.errors.ImageError: Mask 'mask.nii' lies up to 1.5 voxels off 'scan.nii'; expected the same place, or --resample-mask.
    """
    if mask.shape != scan.shape:
        raise ImageError(
            f"Mask '{mask.name}' is {times(mask.shape)}, and '{scan.name}' {times(scan.shape)}; expected the same voxels. "
            "Resample it (--resample-mask)."
        )
    if mask.geometry is None or scan.geometry is None:
        return
    apart = scan.geometry.distance(mask.geometry, scan.shape)
    if apart > _APART:
        raise ImageError(
            f"Mask '{mask.name}' lies up to {apart:.4g} voxels off '{scan.name}'; expected the same place, or --resample-mask."
        )


def resampled(mask: Volume, onto: Volume) -> Volume:
    """Return a mask on the voxels of a scan: at each the value of the mask's voxel that is nearest in the world, 0 outside of it.

    Raises:
        ImageError: if one of them does not say where it lies.

    Example:
        >>> from camtool.io.volumes import Geometry
        >>> scan = Volume(np.zeros((4, 1, 1)), Geometry.of_spacing((1, 1, 1)), "scan.nii")
        >>> mask = Volume(np.array([3.0, 5.0]).reshape(2, 1, 1), Geometry.of_spacing((2, 1, 1)), "mask.nii")
        >>> resampled(mask, scan).values.ravel().tolist()
        [3.0, 5.0, 5.0, 0.0]
    """
    for volume in (mask, onto):
        if volume.geometry is None:
            raise ImageError(f"'{volume.name}' does not say where it lies; expected a spacing, or a mask that needs no resampling.")
    assert mask.geometry is not None
    assert onto.geometry is not None
    affine = np.linalg.inv(mask.geometry.affine) @ onto.geometry.affine
    values = np.zeros(onto.shape, mask.values.dtype)
    x, y = (np.arange(side, dtype=np.float64) for side in onto.shape[:2])
    for z in range(onto.shape[2]):  # a slice at once: indices of all voxels would be as large as six volumes
        nearest = [np.floor(row[0] * x[:, None] + row[1] * y[None] + row[2] * z + row[3] + 0.5).astype(np.int64) for row in affine[:3]]
        inside = np.logical_and.reduce([(index >= 0) & (index < side) for index, side in zip(nearest, mask.shape, strict=True)])
        values[..., z][inside] = mask.values[tuple(index[inside] for index in nearest)]
    return Volume(values, onto.geometry, mask.name)
