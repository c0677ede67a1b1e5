"""read_volume: any file or folder of a volume, by what it starts with."""

import gzip
import os
import zlib
from pathlib import Path

from camtool.errors import ImageError, closest
from camtool.io.tiff import STARTS as TIFF_STARTS
from camtool.io.volumes.dicom import is_dicom, is_dicom_folder, read_dicom
from camtool.io.volumes.metaimage import METAIMAGE, starts_metaimage
from camtool.io.volumes.nifti import GZIP, read_nifti, starts_nifti
from camtool.io.volumes.npy import START as NPY_START
from camtool.io.volumes.npy import read_npy
from camtool.io.volumes.nrrd import MARK as NRRD_MARK
from camtool.io.volumes.nrrd import NRRD
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.tiff import read_tiff
from camtool.io.volumes.volume import Volume

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr", ".tif", ".tiff", ".npy")
"""Of files of volumes; those of TIFF and numpy may be of pictures, too."""

_START = 1024  # bytes that tell a format
DEFAULT = VolumeReading()


def read_volume(path: Path, reading: VolumeReading = DEFAULT) -> Volume:
    """Return the volume of a file, or of a DICOM folder: float32 (x, y, z), and where it lies.

    Axes are in the order of the file's, as nibabel gives them; a DICOM series has x along rows, y along columns and z across its
    slices, in the direction of the normal. Values are rescaled as the file says. Nothing of a file is executed, no file outside of its
    folder is read, and sizes are checked before voxels are decompressed.

    Raises:
        ImageError: if the file is missing, empty, truncated, of no known format, too large, has no three axes in space of one number a
            voxel, or values that are not finite; if its format's library is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "scan.npy", np.ones((2, 3, 4)))
        ...     volume = read_volume(Path(folder) / "scan.npy", VolumeReading(spacing=(1, 1, 2)))
        >>> volume.shape, volume.geometry.spacing
        ((2, 3, 4), (1.0, 1.0, 2.0))
    """
    if os.path.isdir(path):
        return read_dicom(path, reading)
    if not os.path.isfile(path):
        raise ImageError(f"No volume '{path}'{_near(path)}.")
    try:
        start = _start(path)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(f"'{path}' cannot be read; it is truncated or damaged: {error}.") from error
    if not start:
        raise ImageError(f"'{path}' is empty (0 bytes); expected a volume.")
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if starts_nifti(start) or suffix in (".hdr", ".img", ".nii"):
        return read_nifti(path, reading)
    if start.startswith(NRRD_MARK) or suffix in (".nrrd", ".nhdr"):
        return NRRD.read(path, reading)
    if start.startswith(NPY_START) or suffix == ".npy":
        return read_npy(path, reading)
    if start[:4] in TIFF_STARTS or suffix in (".tif", ".tiff"):
        return read_tiff(path, reading)
    if starts_metaimage(start) or suffix in (".mha", ".mhd"):
        return METAIMAGE.read(path, reading)
    if is_dicom(path):
        return read_dicom(path, reading)
    raise ImageError(f"'{path}' is no volume; expected {', '.join(SUFFIXES)}, or a folder of DICOM files.")


def is_volume(path: Path) -> bool:
    """Return whether a path names a volume and no picture: by the suffix of a file, or as a folder of DICOM files.

    TIFF and .npy files are pictures as well, so that it is not told from their names.

    Example:
        >>> from pathlib import Path
        >>> is_volume(Path("head.nii.gz")), is_volume(Path("cat.jpg")), is_volume(Path("stack.tif"))
        (True, False, False)
    """
    return path.name.lower().endswith(SUFFIXES[: SUFFIXES.index(".tif")]) or is_dicom_folder(path)


def _start(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed if it is of gzip."""
    with path.open("rb") as file:
        start = file.read(_START)
    if start.startswith(GZIP):
        with gzip.open(path, "rb") as unpacked:
            return unpacked.read(_START)
    return start


def _near(path: Path) -> str:
    readable = os.path.isdir(path.parent) and os.access(path.parent, os.R_OK)
    files = [str(file) for file in path.parent.iterdir() if file.name.lower().endswith(SUFFIXES)] if readable else []
    return closest(str(path), files)
