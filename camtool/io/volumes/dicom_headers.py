"""What DICOM headers say of slices: of a file of one, or of each frame of an enhanced file, by its functional groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camtool.errors import ImageError
from camtool.words import one_line

_PLACE = ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")
_GROUPS = {
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
"""By field the functional group that holds it in an enhanced file, of all frames or of each."""


@dataclass(frozen=True)
class Slice:
    """What the header of a file says of a slice."""

    path: Path
    series: str
    number: str
    description: str
    size: tuple[int, int]
    """(columns, rows)"""
    spacing: tuple[float, float]
    """Between columns, and between rows."""
    directions: np.ndarray
    """(2, 3): along a row, and along a column."""
    position: np.ndarray
    """(3,): of the first pixel's centre, towards left, posterior and superior."""
    bytes_per_pixel: int
    thickness: float | None
    rescale: tuple[float, float] = (1.0, 0.0)
    """Slope and intercept."""
    frame: int = 0
    """Its number in the file, from 0."""
    frames: int = 1
    """Of the file."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.path.name if self.frames == 1 else f"{self.path.name}, frame {self.frame}"

    @property
    def normal(self) -> np.ndarray:
        """Direction across the slice."""
        return np.cross(self.directions[0], self.directions[1])


def slices_of(header: Any, path: Path) -> Iterator[Slice]:
    """Yield the slices of a file: one, or as many as it has frames.

    Raises:
        ImageError: if its voxels have colours, or it does not say where a slice lies.
    """
    if int(header.get("SamplesPerPixel", 1)) != 1:
        raise ImageError(f"'{path}' has colour voxels, {header.SamplesPerPixel} numbers each; expected one number a voxel.")
    frames = int(header.get("NumberOfFrames", 1) or 1)
    described = header.get("PerFrameFunctionalGroupsSequence")
    if described is None and frames != 1:
        raise ImageError(
            f"'{path}' has {frames} frames, and does not say where each lies: no PerFrameFunctionalGroupsSequence with "
            f"{', '.join(_PLACE)}; expected an enhanced file, or one slice a file. Convert it to NIfTI, with its spacing, first."
        )
    if described is not None and len(described) != frames:
        raise ImageError(f"'{path}' has {frames} frames, and describes {len(described)}; expected as many. It is truncated or damaged.")
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for frame in range(frames):
        yield _slice([described[frame] if described else None, shared], header, path, frame, frames)


def _slice(groups: list[Any], header: Any, path: Path, frame: int, frames: int) -> Slice:
    """Return a slice as its functional groups, else the file itself, describe it."""

    def stated(name: str) -> Any:
        parts = [(group.get(_GROUPS[name]) or [None])[0] for group in groups if group is not None]
        return next((part.get(name) for part in [*parts, header] if part is not None and part.get(name)), None)

    which = f"'{path}'" if frames == 1 else f"'{path}', frame {frame},"
    lacking = [tag for tag in _PLACE if not stated(tag)]
    if lacking:
        raise ImageError(f"{which} does not say where its slice lies: no {', '.join(lacking)}; expected a slice of CT, MR or PET.")
    rows, columns = map(float, stated("PixelSpacing"))
    directions = np.array(stated("ImageOrientationPatient"), np.float64).reshape(2, 3)
    position = np.array(stated("ImagePositionPatient"), np.float64).reshape(3)
    lengths = np.linalg.norm(directions, axis=1)
    if (
        min(rows, columns) <= 0
        or np.abs(lengths - 1).max() > 0.01
        or abs(directions[0] @ directions[1]) > 0.01
        or not np.isfinite(position).all()
    ):
        raise ImageError(
            f"{which} states the spacing {columns:g} x {rows:g} and directions {directions.tolist()}; expected a grid in space."
        )
    thickness = stated("SliceThickness") or stated("SpacingBetweenSlices")
    return Slice(
        path,
        str(header.get("SeriesInstanceUID", "")),
        str(header.get("SeriesNumber", "") or ""),
        one_line(str(header.get("SeriesDescription", "") or "")),
        (int(header.Columns), int(header.Rows)),
        (columns, rows),
        directions / lengths[:, None],
        position,
        max(1, int(header.get("BitsAllocated", 16)) // 8),
        float(thickness) if thickness else None,
        (float(stated("RescaleSlope") or 1), float(stated("RescaleIntercept") or 0)),
        frame,
        frames,
    )
