"""Annotations from masks in files: pictures of indices, or of two values, and volumes."""

import os
from functools import partial
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from camtool.datasets.annotations.annotation import Annotation, Annotations
from camtool.errors import DataError, ImageError
from camtool.io.names import without_data_files
from camtool.io.pillow import Reading, decode, opened
from camtool.io.volumes import SUFFIXES as VOLUME_SUFFIXES
from camtool.io.volumes import read_volume

PICTURES = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Formats that keep values as they are; JPEG does not."""

_VOID = 255  # of VOC's palettes: a border that belongs to nothing


def read_masks(path: Path) -> Annotations:
    """Return the masks in a folder of pictures by their paths in it; each value other than 0 is an object, the value its label.

    Of a picture with a palette, 255 is a border that belongs to no object. Of one with a single value, 255, or one of one bit, the mask is
    an object without a label. Files are read when they are asked for.

    Raises:
        DataError: if there is no such folder, or no picture in it. Of a sample: if its file cannot be read.
    """
    return Annotations(_files(path, PICTURES), _of_picture, f"folder '{path}'")


def read_volumes(path: Path) -> Annotations:
    """Return the masks in a folder of volumes (NIfTI, MetaImage, NRRD …) by their paths in it, (x, y, z); values are labels.

    Raises:
        DataError: if there is no such folder, or no volume in it. Of a sample: if its file cannot be read, or has values that are no whole
            numbers.
    """
    return Annotations(_files(path, VOLUME_SUFFIXES), _of_volume, f"folder '{path}'")


def picture_values(path: Path) -> tuple[np.ndarray, str]:
    """Return the values (h, w) of a picture of a mask, as they are in the file, and Pillow's mode; of several bands where any is not 0.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with opened(path, str(path), Reading()) as (image, _):
            decode(image)
            values, mode = np.asarray(image), image.mode
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError, ImageError) as error:
        raise DataError(f"Mask '{path}' cannot be read: {str(error).rstrip('.')}.") from error
    return (values, mode) if values.ndim == 2 else (np.asarray(values[..., :3].any(axis=2)), "1")


def _of_picture(path: Path) -> list[Annotation]:
    values, mode = picture_values(path)
    found = np.unique(values)
    if mode == "1" or (mode != "P" and set(found.tolist()) <= {0, 255}):
        return [Annotation.of_mask(values)] if values.any() else []
    return _by_value(values, [value for value in found.tolist() if value and not (mode == "P" and value == _VOID)])


def _of_volume(path: Path) -> list[Annotation]:
    try:
        values = read_volume(path).values
    except ImageError as error:
        raise DataError(str(error)) from error
    found = np.unique(values)
    if (found != np.round(found)).any():
        raise DataError(f"Expected a mask of whole numbers, got {found[found != np.round(found)][0]:g} in '{path}'.")
    return _by_value(values.astype(np.int64), [int(value) for value in found if value])


def _by_value(values: np.ndarray, labels: list[int]) -> list[Annotation]:
    objects = [Annotation.of_mask(values == label, label) for label in labels]
    # One array for all objects, and their masks when they are asked for.
    return [Annotation(one.label, one.size, one.boxes, partial(np.equal, values, one.label)) for one in objects]


def _files(path: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not os.path.isdir(path):
        raise DataError(f"No folder '{path}'; expected one of masks, called as the samples are.")
    files = sorted(file for file in path.rglob("*") if file.name.lower().endswith(suffixes) and not file.name.startswith("."))
    if not files:
        raise DataError(f"No mask in the folder '{path}'; expected files such as {', '.join(suffixes)}.")
    names = without_data_files(file.relative_to(path).as_posix() for file in files)
    return {name: path / name for name in names}
