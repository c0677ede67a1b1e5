"""encode_volume and write_volume: a map of a scan's voxels, as a file that lies over the scan in any viewer."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from camtool.errors import OutputError, times
from camtool.io.atomic import write_atomically
from camtool.io.names import OF_PAIRS, in_place_of
from camtool.io.volumes.metaimage import encode_metaimage
from camtool.io.volumes.nifti import compressed, encode_nifti
from camtool.io.volumes.nrrd import encode_nrrd
from camtool.io.volumes.volume import Geometry, Volume

_ENCODERS: Mapping[str, Callable[[np.ndarray, Geometry | None, Any], bytes]] = {
    ".nii.gz": lambda *volume: compressed(encode_nifti(*volume)),
    ".nii": encode_nifti,
    ".mha": encode_metaimage,
    ".nrrd": encode_nrrd,
}
KINDS = tuple(_ENCODERS)
"""Suffixes of files that volumes are written as."""


def kind_of(path: Path) -> str | None:
    """Return which of KINDS a path's suffix is; None if it is none of them.

    Example:
        >>> from pathlib import Path
        >>> kind_of(Path("map.NII.gz")), kind_of(Path("map.png"))
        ('.nii.gz', None)
    """
    return next((kind for kind in KINDS if path.name.lower().endswith(kind)), None)


def kind_for(scan: Volume) -> str:
    """Return the kind of file that a map of a scan is written as unless another is asked for: the scan's, or NIfTI.

    Example:
        >>> kind_for(Volume(np.zeros((2, 3, 4)), None, "head.mhd", ".mhd")), kind_for(Volume(np.zeros((2, 3, 4)), None, "ct", ".dcm"))
        ('.mha', '.nii.gz')
    """
    kind = OF_PAIRS.get(scan.kind, scan.kind)
    return kind if kind in KINDS else ".nii.gz"


def encode_volume(values: np.ndarray, like: Volume, kind: str) -> bytes:
    """Return a map of a scan's voxels as the bytes of a file: float32, NaN staying NaN, in the scan's place.

    A scan of the same format has its geometry's fields copied as they stand, bit for bit. Of NIfTI, the lowest and the highest finite
    value are stated as the range to be shown.

    Args:
        values: (x, y, z) of the scan.
        like: the scan.
        kind: one of KINDS.

    Raises:
        OutputError: if there is no such kind, the map has another size, or NIfTI's library is not installed.

    Example:
        >>> scan = Volume(np.zeros((2, 3, 4)), Geometry.of_spacing((1, 1, 2)), "scan")
        >>> encode_volume(np.ones((2, 3, 4)), scan, ".nrrd")[:8]
        b'NRRD0004'
    """
    if kind not in _ENCODERS:
        raise OutputError(f"Cannot write a volume as '{kind or '(no suffix)'}'; expected {', '.join(KINDS)}{in_place_of(kind, KINDS)}.")
    if values.shape != like.shape:
        raise OutputError(f"Expected a map of the size of '{like.name}', {times(like.shape)}, got one of {times(values.shape)}.")
    return _ENCODERS[kind](values.astype(np.float32), like.geometry, like.header)


def write_volume(path: Path, values: np.ndarray, like: Volume) -> None:
    """Write a map of a scan's voxels to a file of the kind of its suffix, whole or not at all; see `encode_volume`.

    Raises:
        OutputError: if the suffix is none of KINDS, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from camtool.io.volumes.read import read_volume
        >>> scan = Volume(np.zeros((2, 3, 4)), Geometry.of_spacing((1, 1, 2)), "scan")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_volume(Path(folder) / "map.mha", np.ones((2, 3, 4)), scan)
        ...     read_volume(Path(folder) / "map.mha").geometry.spacing
        (1.0, 1.0, 2.0)
    """
    kind = kind_of(path)
    if kind is None:
        instead = in_place_of(path.suffix, KINDS)
        raise OutputError(f"Cannot write a volume as '{path.name}'; expected a name that ends in {', '.join(KINDS)}{instead}.")
    write_atomically(path, encode_volume(values, like, kind))
