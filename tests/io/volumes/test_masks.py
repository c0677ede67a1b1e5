"""Masks lie on their scan, or are resampled onto it as SimpleITK does."""

import numpy as np
import pytest
import SimpleITK

from camtool.errors import ImageError
from camtool.io.volumes import Geometry, Volume, check_same_geometry, resampled
from tests.io.volumes.volume_files import itk_image, random_affine, voxels

SHAPE = (6, 5, 4)


def volume(shape: tuple[int, int, int], affine: np.ndarray | None, seed: int = 0, dtype: type = np.float32) -> Volume:
    return Volume(voxels(np.random.default_rng(seed), shape, dtype), None if affine is None else Geometry(affine), "mask.nii")


def test_a_mask_of_the_same_place_passes_and_another_does_not() -> None:
    affine = random_affine(np.random.default_rng(0))
    scan = volume(SHAPE, affine)
    check_same_geometry(volume(SHAPE, affine, 1), scan)
    for voxel, allowed in ((5e-4, True), (2e-3, False)):
        moved = affine.copy()
        moved[:3, 3] += voxel * affine[:3, 1]
        if allowed:
            check_same_geometry(volume(SHAPE, moved), scan)
        else:
            with pytest.raises(ImageError, match=r"0\.002 voxels off .*--resample-mask"):
                check_same_geometry(volume(SHAPE, moved), scan)
    stretched = affine.copy()
    stretched[:3, 0] *= 1 + 4e-4  # 2e-3 of a voxel, five voxels on
    with pytest.raises(ImageError, match="voxels off"):
        check_same_geometry(volume(SHAPE, stretched), scan)
    flipped = affine.copy()
    flipped[:3, 3] += 5 * affine[:3, 0]
    flipped[:3, 0] *= -1
    with pytest.raises(ImageError, match="voxels off"):
        check_same_geometry(volume(SHAPE, flipped), scan)


def test_a_mask_of_another_size_is_refused_and_one_without_a_place_is_taken_by_its_size() -> None:
    scan = volume(SHAPE, random_affine(np.random.default_rng(0)))
    with pytest.raises(ImageError, match=r"5x6x4, and .* 6x5x4.*--resample-mask"):
        check_same_geometry(volume((5, 6, 4), None), scan)
    check_same_geometry(volume(SHAPE, None), scan)


@pytest.mark.parametrize("seed", range(8))
def test_resampling_is_that_of_itk(seed: int) -> None:
    draw = np.random.default_rng(seed)
    scan_affine, mask_affine = random_affine(draw), random_affine(draw)
    centre = np.array([4.5, 5.0, 5.5])
    mask_affine[:3, 3] += scan_affine[:3, :3] @ centre + scan_affine[:3, 3] - mask_affine[:3, :3] @ centre - mask_affine[:3, 3]
    scan, mask = volume((10, 11, 12), scan_affine), volume((10, 11, 12), mask_affine, seed + 1, np.int16)
    theirs = SimpleITK.Resample(
        itk_image(mask.values, mask_affine), itk_image(scan.values, scan_affine), SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0.0
    )
    ours = resampled(mask, scan)
    expected = SimpleITK.GetArrayFromImage(theirs).T
    assert (ours.values > 0).mean() > 0.02
    # Where a place is half a voxel outside of the mask, or between two, rounding decides.
    assert (ours.values == expected).mean() > 0.999
    assert ours.geometry is scan.geometry
    assert ours.values.dtype == np.int16
    assert ours.header is None
    check_same_geometry(ours, scan)


def test_a_mask_on_its_own_voxels_stays_as_it_is() -> None:
    for seed in range(10):
        mask = volume(SHAPE, random_affine(np.random.default_rng(seed)), seed)
        assert np.array_equal(resampled(mask, mask).values, mask.values)


def test_what_lies_nowhere_is_not_resampled() -> None:
    scan = volume(SHAPE, np.eye(4))
    for mask, onto in ((volume(SHAPE, None), scan), (scan, volume(SHAPE, None))):
        with pytest.raises(ImageError, match="does not say where it lies"):
            resampled(mask, onto)
