"""DICOM folders: the slices of one series, sorted by where they lie; pydicom, of the extra `medical`, reads the files."""

import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from camtool.errors import ImageError, some, times
from camtool.io.volumes.dicom_headers import Slice, slices_of
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import TURN, Volume
from camtool.io.volumes.voxels import as_float32, check_spacing_is_stated, check_voxels, located
from camtool.words import one_line, shortened

_PREAMBLE, _MARK = 128, b"DICM"
_DEFLATED = "1.2.840.10008.1.2.1.99"  # the whole data set is compressed, by any factor
_DIRECTORY = "1.2.840.10008.1.3.10"  # of all files, DICOMDIR
_UNEVEN = 0.05  # of a step: by so much a slice may lie off the place that equal steps give it, which headers round
_LOOKED_AT = 100  # files that tell whether a folder, which may be one of very many pictures, is a scan
_ALIKE = 1e-3  # relative, of spacings; absolute, of directions


def is_dicom(path: Path) -> bool:
    """Return whether a file is one of DICOM's, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == _MARK
    except OSError:
        return False


def is_dicom_folder(folder: Path) -> bool:
    """Return whether a folder has a DICOM file among its first ones, not in a folder of it."""
    try:
        return os.path.isdir(folder) and any(map(is_dicom, itertools.islice(_files(folder), _LOOKED_AT)))
    except ImageError:
        return False


def read_dicom(path: Path, reading: VolumeReading) -> Volume:
    """Return the volume of the slices in a folder, or of the frames of one file: x along rows, y along columns, z across the slices.

    Raises:
        ImageError: if pydicom is missing, a file has one slice, the folder has no series or several of which none is chosen, or the
            slices of the series are damaged, compressed in a way that nothing here reads, or no grid: one is missing or there twice, or
            their spacings, directions or sizes differ.
    """
    _check_pydicom(path)
    name, alone = str(path), os.path.isfile(path)
    slices = _chosen(list(_slices([path] if alone else _dicom_files(path), reading)), name, reading)
    if alone and len(slices) == 1:
        raise ImageError(f"'{path}' is one DICOM file; expected the folder of its series, '{path.parent}'.")
    first = slices[0]
    for other in slices[1:]:
        _check_alike(first, other, name)
    slices.sort(key=lambda one: float(one.position @ first.normal))
    step = _step(slices, name)
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[0]
    affine[:3, 1] = first.directions[1] * first.spacing[1]
    affine[:3, 2] = step
    affine[:3, 3] = slices[0].position
    geometry = located(TURN @ affine, name)
    check_spacing_is_stated(geometry.spacing, name, reading)
    shape = (*first.size, len(slices))
    check_voxels(shape, np.dtype(f"i{max(one.bytes_per_pixel for one in slices)}"), name, reading)
    values = np.empty(shape, np.float32, order="F")
    contents = _Contents()
    for z, one in enumerate(slices):
        values[..., z] = _pixels(one, contents, reading).T
    return Volume(values, geometry, name, ".dcm")


def _check_pydicom(folder: Path) -> None:
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise ImageError(f"'{folder}' needs pydicom to be read: pip install 'camtool[medical]'.") from error


def _files(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ImageError(f"'{folder}' cannot be read: {error.strerror}.") from error
    return (folder / name for name in names if not name.startswith(".") and os.path.isfile(folder / name))


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn what pydicom raises into one line, and keep its warnings on odd values to itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except Exception as error:
        text = shortened(one_line(str(error)), 200).rstrip(".")
        raise ImageError(f"'{path}' cannot be read as DICOM; it is truncated or damaged: {text}.") from error


def _dicom_files(folder: Path) -> list[Path]:
    files = [path for path in _files(folder) if path.suffix.lower() == ".dcm" or is_dicom(path)]
    if not files:
        raise ImageError(f"'{folder}' has no DICOM file; expected the slices of a series, in the folder itself.")
    return files


def _slices(files: Sequence[Path], reading: VolumeReading) -> Iterator[Slice]:
    import pydicom

    for path in files:
        if not is_dicom(path):
            raise ImageError(f"'{path}' is no DICOM file, whatever its name says; expected 'DICM' behind 128 bytes. Copy it again.")
        if path.stat().st_size > reading.max_bytes:
            raise ImageError(f"'{path}' has {path.stat().st_size} bytes; expected at most {reading.max_bytes}, or more by max_bytes.")
        with _errors_of(path):
            meta = pydicom.filereader.read_file_meta_info(path)
            if meta.get("TransferSyntaxUID") == _DEFLATED:
                raise ImageError(f"'{path}' is compressed as a whole (deflated); expected DICOM that is not. Convert it first.")
            header = pydicom.dcmread(path, stop_before_pixels=True)
            if "Rows" in header and "Columns" in header:
                yield from slices_of(header, path)
                continue
            kind, stated = header.get("SOPClassUID"), meta.get("MediaStorageSOPClassUID")
            # Others are directories, reports, contours; of a file that was cut off, as much is not known.
            if stated != _DIRECTORY and (kind is None or kind != stated or "Image Storage" in kind.name):
                raise ImageError(f"'{path}' states no size of a picture; expected a slice. It is truncated or damaged.")


def _chosen(slices: Sequence[Slice], name: str, reading: VolumeReading) -> list[Slice]:
    """Return the slices of the one series, or of the one that is asked for."""
    by_series: dict[str, list[Slice]] = {}
    for one in slices:
        by_series.setdefault(one.series, []).append(one)
    if not by_series:
        raise ImageError(f"'{name}' has DICOM files, but no pictures; expected the slices of a series.")
    firsts = [members[0] for members in by_series.values()]
    numbers = [one.number for one in firsts]
    known_by = [one.number if one.number and numbers.count(one.number) == 1 else one.series for one in firsts]
    listed = some(
        [
            f"{_title(one)} of {len(by_series[one.series])} slices{f' ({known})' if known == one.series != _title(one) else ''}"
            for one, known in zip(firsts, known_by, strict=True)
        ]
    )
    if reading.series is None:
        if len(by_series) > 1:
            raise ImageError(
                f"'{name}' has {len(by_series)} series: {listed}; expected one. Say which by its number, description or UID: "
                f"series={known_by[0]!r} (--series {known_by[0]})."
            )
        return next(iter(by_series.values()))
    asked = str(reading.series)
    found = [members for members in by_series.values() if asked in (members[0].series, members[0].number, members[0].description)]
    if len(found) != 1:
        raise ImageError(f"'{name}' has {len(found) or 'no'} series '{shortened(one_line(asked))}'; expected one of: {listed}.")
    return found[0]


def _title(one: Slice) -> str:
    parts = (one.number, f"'{shortened(one.description)}'" if one.description else "")
    return " ".join(filter(None, parts)) or one.series


def _check_alike(first: Slice, other: Slice, name: str) -> None:
    pair = f"'{first.name}' and '{other.name}'"
    if other.size != first.size:
        raise ImageError(f"'{name}' has slices of {times(first.size)} and {times(other.size)} pixels, {pair}; expected one size.")
    if not np.allclose(other.spacing, first.spacing, rtol=_ALIKE, atol=0):
        spacings = " and ".join(" x ".join(f"{size:g}" for size in one.spacing) for one in (first, other))
        raise ImageError(f"'{name}' has slices of the spacings {spacings} mm, {pair}; expected one.")
    if np.abs(other.directions - first.directions).max() > _ALIKE:
        raise ImageError(
            f"'{name}' has slices of different orientation, {pair}; expected one. Move a scout or another plane out of the folder."
        )


def _step(slices: Sequence[Slice], name: str) -> np.ndarray:
    """Return the step (3,) from a slice to the next, in millimetres; of a single one by its thickness."""
    first, last = slices[0], slices[-1]
    if len(slices) == 1:
        if first.thickness is None or first.thickness <= 0:
            raise ImageError(f"'{name}' has one slice, and no thickness of it; expected several slices, or SliceThickness.")
        return first.normal * first.thickness
    places = np.array([one.position @ first.normal for one in slices])
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    short = int(np.argmin(gaps))
    if gaps[short] < _ALIKE * max(usual, 1.0):
        pair = f"'{slices[short].name}' and '{slices[short + 1].name}'"
        raise ImageError(
            f"'{name}' has several slices at one place, {pair}; expected one. Keep one copy, echo or point of time in the folder."
        )
    wide = int(np.argmax(gaps))
    if gaps[wide] > (1 + 2 * _UNEVEN) * usual:
        pair = f"'{slices[wide].name}' and '{slices[wide + 1].name}'"
        ratio = gaps[wide] / usual
        missing = round(ratio) - 1 if abs(ratio - round(ratio)) < _UNEVEN else 0
        what = f"{missing} slice{'s' * (missing > 1)} missing" if missing else f"a gap of {gaps[wide]:.4g} mm"
        raise ImageError(f"'{name}' has {what} between {pair}, where others are {usual:.4g} mm apart; expected equal steps.")
    step = (last.position - first.position) / (len(slices) - 1)
    off = max(float(np.linalg.norm(one.position - first.position - z * step)) for z, one in enumerate(slices))
    if off > _UNEVEN * usual:
        raise ImageError(
            f"'{name}' has slices {gaps.min():.4g} to {gaps.max():.4g} mm apart, up to {off:.4g} mm off a grid of equal steps; expected "
            "equal ones. Resample it first."
        )
    return np.asarray(step)


class _Contents:
    """The last file that was read: the frames of one follow each other."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._content: Any = None

    def of(self, path: Path) -> Any:
        """Return a file's content."""
        if path != self._path:
            import pydicom

            self._path, self._content = path, pydicom.dcmread(path)
        return self._content


def _pixels(one: Slice, contents: _Contents, reading: VolumeReading) -> np.ndarray:
    """Return the rescaled values (rows, columns) of a slice."""
    from pydicom.pixels import apply_modality_lut

    with _errors_of(one.path):
        content = contents.of(one.path)
        if "PixelData" not in content and "FloatPixelData" not in content and "DoubleFloatPixelData" not in content:
            raise ImageError(f"'{one.path}' has no pixels; expected a slice. It is truncated or damaged.")
        syntax = content.file_meta.TransferSyntaxUID
        try:
            values = content.pixel_array
        except (RuntimeError, NotImplementedError) as error:
            if not syntax.is_compressed:
                raise
            raise ImageError(
                f"'{one.path}' is compressed as {syntax.name}, which no installed library decodes: pip install pylibjpeg "
                "pylibjpeg-libjpeg pylibjpeg-openjpeg, or convert it first."
            ) from error
        expected = (*(() if one.frames == 1 else (one.frames,)), *one.size[::-1])
        if values.shape != expected:
            raise ImageError(f"'{one.path}' has {times(values.shape)} pixels; expected {times(expected)}, as its header says.")
        values = values if one.frames == 1 else values[one.frame]
        slope, intercept = one.rescale
        if content.get("ModalityLUTSequence"):
            values, slope, intercept = apply_modality_lut(values, content), 1.0, 0.0
    return as_float32(values[..., None], str(one.path), reading, slope, intercept)[..., 0]
