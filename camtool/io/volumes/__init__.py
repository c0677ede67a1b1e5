"""Volumes of three axes and where they lie in the world: read and written as NIfTI, MetaImage, NRRD, DICOM, TIFF and arrays."""

from camtool.io.volumes.masks import check_same_geometry, resampled
from camtool.io.volumes.read import SUFFIXES, is_volume, read_volume
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import Geometry, Volume
from camtool.io.volumes.write import KINDS, encode_volume, kind_for, kind_of, write_volume

__all__ = [
    "KINDS",
    "SUFFIXES",
    "Geometry",
    "Volume",
    "VolumeReading",
    "check_same_geometry",
    "encode_volume",
    "is_volume",
    "kind_for",
    "kind_of",
    "read_volume",
    "resampled",
    "write_volume",
]
