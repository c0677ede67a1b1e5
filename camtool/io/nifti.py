"""NIfTI files of maps: nibabel, of the extra `medical`."""

from collections.abc import Sequence

import numpy as np

from camtool.errors import OutputError


def check_nibabel() -> None:
    """Raise OutputError if nibabel is not installed."""
    try:
        import nibabel  # noqa: F401
    except ImportError as error:
        raise OutputError("NIfTI files need nibabel: pip install 'camtool[medical]', or choose --format npy.") from error


def nifti(values: np.ndarray, scale: Sequence[float], offset: Sequence[float]) -> bytes:
    """Return a map (*spatial) as the bytes of a .nii file in float32, its axes in the order of the network's input.

    The affine leads from an element's index to the input's: scale * index + offset, in voxels of the input. Missing axes have size 1.

    Raises:
        OutputError: if nibabel is not installed, or there are more than three axes.
    """
    check_nibabel()  # before anything of the values
    affine = np.eye(4)
    for axis, (step, start) in enumerate(zip(scale, offset, strict=True)):
        affine[axis % 3, axis % 3], affine[axis % 3, 3] = step, start
    return nifti_in_space(values, affine)


def nifti_in_space(values: np.ndarray, affine: np.ndarray) -> bytes:
    """Return a map (*spatial) as the bytes of a .nii file in float32, with this affine matrix (4, 4) from its indices to millimetres.

    Missing axes have size 1.

    Raises:
        OutputError: if nibabel is not installed, or there are more than three axes.
    """
    check_nibabel()
    import nibabel

    if not 1 <= values.ndim <= 3:
        raise OutputError(f"Expected a map of one to three axes, got {values.ndim}.")
    volume = values.reshape(*values.shape, *[1] * (3 - values.ndim)).astype(np.float32)
    return bytes(nibabel.Nifti1Image(volume, affine).to_bytes())
