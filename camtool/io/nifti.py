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
    check_nibabel()
    import nibabel

    if not 1 <= values.ndim <= 3:
        raise OutputError(f"Expected a map of one to three axes, got {values.ndim}.")
    affine = np.eye(4)
    for axis, (step, start) in enumerate(zip(scale, offset, strict=True)):
        affine[axis, axis], affine[axis, 3] = step, start
    volume = values.reshape(*values.shape, *[1] * (3 - values.ndim)).astype(np.float32)
    return bytes(nibabel.Nifti1Image(volume, affine).to_bytes())
