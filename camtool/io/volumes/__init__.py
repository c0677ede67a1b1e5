"""Volumes of three axes and where they lie in the world: read and written as NIfTI, MetaImage, NRRD, DICOM, TIFF and arrays."""

from camtool.io.volumes.volume import Geometry, Volume

__all__ = ["Geometry", "Volume"]
