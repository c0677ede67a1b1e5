"""Annotations in the XML of PASCAL VOC, which ImageNet's boxes are in as well."""

import os
from functools import partial
from pathlib import Path

import numpy as np

from camtool.datasets.annotations.annotation import Annotation, Annotations
from camtool.datasets.annotations.xml_tree import Element, read_xml
from camtool.errors import DataError


def read_voc(path: Path, first: int = 1) -> Annotations:
    """Return the annotations of an XML file, or of a folder of them, by the files' names without `.xml`; labels are objects' names.

    Files are read when they are asked for.

    Args:
        first: number of the first pixel. 1: pixels `xmin` to `xmax` are the object's, both included, as VOC counts them; 0: `xmin` to
            `xmax` are borders, as in ImageNet's files, which have 0 and the width itself.

    Raises:
        DataError: if there is no such file or folder, or no XML file in it. Of a sample: if its file is not well formed, has a document
            type, or lacks an element; the line is named.
    """
    if os.path.isdir(path):
        entries = {
            file.relative_to(path).with_suffix("").as_posix(): file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() == ".xml" and not file.name.startswith(".")
        }
        if not entries:
            raise DataError(f"No XML file in the folder '{path}'; expected one for each picture.")
        return Annotations(entries, partial(_objects, first), f"folder '{path}'")
    if not os.path.isfile(path):
        raise DataError(f"No file or folder '{path}'; expected XML files of VOC.")
    return Annotations({path.stem: path}, partial(_objects, first), f"'{path}'")


def _objects(first: int, path: Path) -> list[Annotation]:
    root = read_xml(path)
    try:
        size = root.one("size")
        height, width = (int(size.number(side)) for side in ("height", "width"))
        if min(height, width) < 1:
            raise DataError(f"line {size.line}: expected a size above 0, got {width}x{height}")
        return [_object(first, (height, width), element) for element in root.all("object")]
    except DataError as error:
        raise DataError(f"'{path}', {error}.") from error


def _object(first: int, size: tuple[int, int], element: Element) -> Annotation:
    box = element.one("bndbox")
    low_x, low_y, high_x, high_y = (box.number(name) for name in ("xmin", "ymin", "xmax", "ymax"))
    low_x, low_y = low_x - first, low_y - first
    if low_x >= high_x or low_y >= high_y:
        raise DataError(f"line {box.line}: expected xmin and ymin below xmax and ymax, got an empty box")
    return Annotation(element.one("name").text, size, np.array([[[low_y, high_y], [low_x, high_x]]]))
