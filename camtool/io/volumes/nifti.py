"""NIfTI files (.nii, .nii.gz, .hdr with .img) in and out; nibabel, of the extra `medical`, reads and writes their headers."""

import gzip
import logging
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import numpy as np

from camtool.errors import ImageError, OutputError
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import Geometry, Volume
from camtool.io.volumes.voxels import Stream, as_float32, check_spacing_is_stated, check_voxels, located, only_spatial, read_voxels, skip

GZIP = b"\x1f\x8b"
_HEADER_BYTES = {348: 352, 540: 544}
"""Of NIfTI-1 and NIfTI-2: the header, and where voxels start that follow it."""
_MILLIMETRES = {1: 1000.0, 3: 0.001}  # of a metre, a micrometre
_SPATIAL_UNIT = 7  # bits of xyzt_units
_FIELDS = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
)
_MOST_SIDE_OF_NIFTI1 = 32767
_MOST_AXES = 7
_SAME = 1e-4  # of a voxel
_SCANNER = 1

_quiet = logging.getLogger("camtool.nibabel")  # nibabel prints what it mends of a header; what is needed of it is checked
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def check_nibabel() -> None:
    """Raise OutputError if nibabel is not installed."""
    try:
        import nibabel  # noqa: F401
    except ImportError as error:
        raise OutputError("NIfTI files need nibabel: pip install 'camtool[medical]', or choose another format.") from error


def starts_nifti(start: bytes) -> bool:
    """Return whether a file, decompressed, starts as NIfTI or as Analyze, which came before it."""
    return _order(start) is not None


def read_nifti(path: Path, reading: VolumeReading) -> Volume:
    """Return the volume of a .nii or .nii.gz file, or of a pair .hdr and .img of which one is named.

    Raises:
        ImageError: if nibabel is missing, the file is damaged, or has no volume of three axes in space as asked for.
    """
    try:
        check_nibabel()
    except OutputError as error:
        raise ImageError(f"'{path}' needs nibabel to be read: pip install 'camtool[medical]'.") from error
    name = str(path)
    header_path, data_path = _pair(path)
    try:
        with _opened(header_path) as file:
            stated = _header(file.read(max(_HEADER_BYTES)), header_path)
        header = stated.copy()
        header.check_fix(logger=_quiet, error_level=40)
        shape, dtype = tuple(map(int, header.get_data_shape())), header.get_data_dtype()
        if not 1 <= header["dim"][0] <= _MOST_AXES:
            raise ImageError(f"'{name}' states {header['dim'][0]} axes; expected 1 to {_MOST_AXES}. It is damaged.")
        check_voxels(shape, dtype, name, reading)
        start = int(header.get_data_offset())
        if not 0 <= start <= reading.max_bytes:
            raise ImageError(f"'{name}' says that its voxels start at byte {start}; expected up to {reading.max_bytes}.")
        slope, intercept = header.get_slope_inter()
        geometry = located(_affine(header), name)
        check_spacing_is_stated(geometry.spacing, name, reading)
        with _opened(data_path) as file:
            skip(file, start)
            raw = read_voxels(file, shape, dtype, str(data_path))
    except ImageError:
        raise
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, OverflowError, _header_errors()) as error:
        raise ImageError(f"'{name}' cannot be read as NIfTI; it is truncated or damaged: {str(error).rstrip('.')}.") from error
    values = only_spatial(raw, range(3, len(shape)), name, reading)
    values = as_float32(values, name, reading, *(1.0 if slope is None else slope, 0.0 if intercept is None else intercept))
    return Volume(values, geometry, name, _kind(path), stated)


def encode_nifti(values: np.ndarray, geometry: Geometry | None, header: Any = None) -> bytes:
    """Return a volume (x, y, z) as the bytes of a .nii file in float32.

    Args:
        geometry: None: the file says nothing of it.
        header: nibabel's, of the NIfTI file that the volume belongs to, whose version, byte order and geometry are kept bit for bit,
            unless it states another geometry.

    Raises:
        OutputError: if nibabel is not installed.

    Example:
        >>> content = encode_nifti(np.zeros((2, 3, 4)), Geometry.of_spacing((1, 1, 2)))
        >>> len(content) - 352, content[344:347]
        (96, b'n+1')
    """
    check_nibabel()
    import nibabel

    if header is not None and not _states(header, geometry, values.shape):
        header = None
    large = max(values.shape) > _MOST_SIDE_OF_NIFTI1 or (header is not None and int(header["sizeof_hdr"]) == 540)
    kind = nibabel.Nifti2Header if large else nibabel.Nifti1Header
    new = kind(endianness="<" if header is None else header.endianness)
    new.set_data_shape(values.shape)
    finite = values[np.isfinite(values)]
    if finite.size:  # the range that viewers show, which NaN would confuse
        new["cal_min"], new["cal_max"] = finite.min(), finite.max()
    if header is not None:
        for field in _FIELDS:
            new[field] = header[field]
        new["pixdim"][:4] = header["pixdim"][:4]
        new["xyzt_units"] = header["xyzt_units"] & _SPATIAL_UNIT
    elif geometry is not None:
        new.set_xyzt_units("mm")
        new.set_sform(geometry.affine, code=_SCANNER)
        new.set_qform(geometry.affine, code=_SCANNER)
        if geometry.distance(Geometry(new.get_qform()), values.shape) > _SAME:  # of axes that are not at right angles
            new.set_qform(None, code=0)
    return _bytes_of(new, values)


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
    volume = values.reshape(*values.shape, *[1] * (3 - values.ndim))
    header = nibabel.Nifti1Header()
    header.set_sform(affine, code="aligned")
    header.set_qform(affine, code="unknown")
    return _bytes_of(header, volume)


def compressed(content: bytes) -> bytes:
    """Return the content of a file as that of a .gz file, the same bytes each time."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def _bytes_of(header: Any, values: np.ndarray) -> bytes:
    """Return a .nii file of a header and its voxels."""
    start = _HEADER_BYTES[int(header["sizeof_hdr"])]
    header["vox_offset"] = start
    header.set_data_dtype(np.float32)
    header.set_data_shape(values.shape)
    header["scl_slope"], header["scl_inter"] = 1, 0
    voxels = values.astype(np.dtype(np.float32).newbyteorder(header.endianness))
    return bytes(header.binaryblock).ljust(start, b"\0") + voxels.tobytes(order="F")


def _order(start: bytes) -> str | None:
    """Return the byte order of a header by its first number, which is its size; None if it is neither."""
    for order, sign in (("little", "<"), ("big", ">")):
        if len(start) >= 4 and int.from_bytes(start[:4], order) in _HEADER_BYTES:  # type: ignore[arg-type]
            return sign
    return None


def _header(start: bytes, path: Path) -> Any:
    """Return nibabel's header of the kind that a file starts with, as it stands there."""
    from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
    from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
    from nibabel.spm2analyze import Spm2AnalyzeHeader

    order = _order(start)
    size = 0 if order is None else int.from_bytes(start[:4], "little" if order == "<" else "big")
    if order is None or len(start) < size:
        raise ImageError(f"'{path}' has {len(start)} bytes of a header; expected NIfTI's of 348 or 540. It is truncated or damaged.")
    magic = start[4:8] if size == 540 else start[344:348]
    kinds = {
        b"n+1\0": Nifti1Header,
        b"ni1\0": Nifti1PairHeader,
        b"n+2\0": Nifti2Header,
        b"ni2\0": Nifti2PairHeader,
    }
    kind = kinds.get(magic, Spm2AnalyzeHeader if size == 348 and ".hdr" in path.name.lower() else None)
    if kind is None:
        raise ImageError(f"'{path}' is no NIfTI file: its mark is {magic!r}; expected 'n+1' or 'n+2'. It is damaged.")
    if kind is Spm2AnalyzeHeader and path.with_suffix(".mat").exists():
        raise ImageError(f"'{path}' is an Analyze file whose geometry is in a .mat file; expected NIfTI. Convert it first.")
    return kind(start[:size], endianness=order, check=False)


def _affine(header: Any) -> np.ndarray:
    """Return the affine to millimetres; nibabel's is in the file's unit."""
    affine = np.array(header.get_best_affine(), np.float64)
    unit = int(header["xyzt_units"]) & _SPATIAL_UNIT if "xyzt_units" in header else 0
    affine[:3] *= _MILLIMETRES.get(unit, 1.0)
    return affine


def _states(header: Any, geometry: Geometry | None, shape: Sequence[int]) -> bool:
    """Return whether a header is NIfTI's and states this geometry, as one does not that was read of another volume."""
    from nibabel.nifti1 import Nifti1Header

    if not isinstance(header, Nifti1Header):  # of which NIfTI-2's is one
        return False
    if geometry is None or tuple(header.get_data_shape()[:3]) != tuple(shape):
        return False
    fixed = header.copy()
    fixed.check_fix(logger=_quiet, error_level=50)
    return Geometry(_affine(fixed)).distance(geometry, shape) <= _SAME


def _pair(path: Path) -> tuple[Path, Path]:
    """Return the files of header and voxels: of a pair two, else the same; ImageError if one of a pair is missing."""
    packed = path.suffix.lower() == ".gz"
    plain = path.with_suffix("") if packed else path
    other = {".hdr": ".img", ".img": ".hdr"}.get(plain.suffix.lower())
    if other is None:
        return path, path
    stem = str(plain)[: -len(plain.suffix)]
    cases = (other, other.upper())
    candidates = [Path(f"{stem}{suffix}{end}") for end in ((path.suffix, "") if packed else ("", ".gz")) for suffix in cases]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise ImageError(f"'{path}' is one of two files of a volume; expected '{candidates[0].name}' beside it. Copy both files.")
    return (path, found) if other == ".img" else (found, path)


def _kind(path: Path) -> str:
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _opened(path: Path) -> AbstractContextManager[Stream]:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return gzip.open(path, "rb") if packed else path.open("rb")


def _header_errors() -> type[Exception]:
    from nibabel.spatialimages import HeaderDataError

    return cast("type[Exception]", HeaderDataError)
