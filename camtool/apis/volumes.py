"""Volumes as samples: loaded from paths and arrays, drawn as slices, and written as files that open over the scan."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from camtool.apis.canvas import OVER_AN_IMAGE, Canvas
from camtool.apis.named import Named
from camtool.errors import ImageError, OutputError
from camtool.io.images import FORMATS, encode
from camtool.io.volumes import KINDS, Geometry, Volume, VolumeReading, encode_volume, kind_for, read_volume
from camtool.visualization.captioned_sheet import CaptionedPicture
from camtool.visualization.concepts import ConceptMaps
from camtool.visualization.figures import Cell, Style
from camtool.visualization.volumes import STRIP_SIDE, Slices, concept_slices, encode_frames, montage, strip, turning

if TYPE_CHECKING:
    from camtool.models.sources.volume_preprocessing import VolumePreprocess

_TURNING = (".gif", ".mp4")
"""Suffixes of films: the projection of the map turns."""


@dataclass(frozen=True)
class NamedVolume(Named):
    """A volume, and its name in reports and file names."""

    volume: Volume

    @property
    def name(self) -> str:  # type: ignore[override]  # of what it holds
        """The file's path; "volume_0" without a file."""
        return self.volume.name

    @property
    def content(self) -> Volume:
        """What the network's preprocessing takes."""
        return self.volume

    def canvas(self, inputs: Tensor, preprocess: Any, *, original: bool = False) -> "VolumeCanvas":
        """Return what maps are drawn on: always the scan, not the network's input."""
        return VolumeCanvas(self.volume, preprocess)

    def facts(self) -> dict[str, Any]:
        """Return what tells where the voxels lie, as arrays."""
        geometry = self.volume.geometry
        return {} if geometry is None else {"affine": geometry.affine}


def load_volume(content: Any, number: int, reading: VolumeReading) -> NamedVolume:
    """Return a path, a Volume, or an array or a tensor (x, y, z) as a named volume; without a file its name has the number: "volume_0".

    Args:
        reading: how files are read; of arrays its spacing holds.

    Raises:
        ImageError: if the file cannot be read, or the array is no volume.

    Example:
        >>> import numpy as np
        >>> from camtool.io.volumes import VolumeReading
        >>> from camtool.apis.volumes import load_volume
        >>> scan = load_volume(np.zeros((4, 5, 6)), 0, VolumeReading(spacing=(1, 1, 2)))
        >>> scan.name, scan.volume.shape, scan.volume.geometry.spacing
        ('volume_0', (4, 5, 6), (1.0, 1.0, 2.0))
    """
    if isinstance(content, NamedVolume):
        return content
    if isinstance(content, Volume):
        return NamedVolume(content)
    if isinstance(content, (str, Path)):
        return NamedVolume(read_volume(Path(content).expanduser(), reading))
    if isinstance(content, Tensor):
        content = content.detach().cpu().float().numpy()
    if not isinstance(content, np.ndarray) or content.ndim != 3 or content.dtype.kind not in "biuf":
        what = f"values of shape {content.shape}" if isinstance(content, np.ndarray) else f"a {type(content).__name__}"
        raise ImageError(f"Expected a volume: a path, a Volume, or numbers (x, y, z); got {what}.")
    geometry = None if reading.spacing is None else Geometry.of_spacing(reading.spacing, oriented=False)
    return NamedVolume(Volume(content, geometry, f"volume_{number}"))


class VolumeCanvas(Canvas):
    """The scan that maps are drawn on.

    Args:
        volume: the scan.
        preprocess: of the network; it places maps.
    """

    def __init__(self, volume: Volume, preprocess: "VolumePreprocess") -> None:
        self._volume, self._preprocess = volume, preprocess

    formats: ClassVar[Mapping[str, Collection[str]]] = {
        **dict.fromkeys(FORMATS, OVER_AN_IMAGE | {"slices"}),
        **dict.fromkeys(KINDS, ("signed", "scale", "per_layer", "original")),  # numbers; they always lie on the scan
        **dict.fromkeys(_TURNING, OVER_AN_IMAGE - {"caption"}),
    }

    def placed(self, maps: np.ndarray) -> np.ndarray:
        """Return a map over the network's input on the scan's voxels (x, y, z); NaN outside the network's input."""
        return self._preprocess.to_scan(maps, self._volume)

    def figure(self, rows: Sequence[Sequence[Cell]], style: Style, *, alarm: str = "") -> UInt8[np.ndarray, "H W 3"]:
        """Return the slices through the maximum, or with `style.slices` a strip, of each cell."""
        geometry, scan = self._volume.geometry, self._volume.values
        cells = [cell for row in rows for cell in row]
        if style.slices:
            axis = "axial" if _is_oriented(self._volume) else "z"
            return strip(scan, cells, Slices(axis, style.slices), geometry, style, alarm=alarm)
        return montage(scan, cells, geometry, style, alarm=alarm)

    def encoded(self, whole: UInt8[np.ndarray, "H W 3"], cells: Sequence[Cell], suffix: str, style: Style) -> bytes:
        """Return the content of a file: the slices, of a volume's suffix the map, of .gif or .mp4 the turning projection."""
        if suffix not in (*KINDS, *_TURNING):
            return encode(whole, suffix)
        if len(cells) != 1:
            raise OutputError(f"A file '{suffix}' holds one map, got {len(cells)}; give a folder (--save-path DIR/), a file for each map.")
        return encode_volume(cells[0].evidence, self._volume, suffix) if suffix in KINDS else self._turning(cells[0], suffix, style)

    def _turning(self, cell: Cell, suffix: str, style: Style) -> bytes:
        geometry = self._volume.geometry
        frames = turning(self._volume.values, cell.saliency, geometry, style, axis=None if _is_oriented(self._volume) else "z")
        return encode_frames(frames, suffix)

    def concepts(self, concepts: ConceptMaps) -> UInt8[np.ndarray, "H W 3"]:
        """Return for each concept the slices through its maximum, in the colours of all."""
        return concept_slices(self._volume.values, concepts, self._volume.geometry)

    def tile(self, cell: Cell, style: Style, captions: tuple[str, ...], remark: str = "") -> CaptionedPicture:
        """Return small slices through the maximum."""
        slices = montage(self._volume.values, [cell], self._volume.geometry, replace(style, side=STRIP_SIDE))
        return CaptionedPicture(slices, captions, remark, is_figure=True)

    def aligned(self, cell: Cell) -> dict[str, bytes]:
        """Return the map of the scan's voxels, in the scan's format."""
        kind = kind_for(self._volume)
        return {kind: encode_volume(cell.evidence, self._volume, kind)}


def _is_oriented(volume: Volume) -> bool:
    return volume.geometry is not None and volume.geometry.oriented
