"""Annotations in the JSON of COCO: boxes, polygons and run lengths."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from camtool.datasets.annotations.annotation import Annotation, Annotations
from camtool.datasets.annotations.outlines import of_polygons, of_runs, runs_of_text
from camtool.errors import DataError
from camtool.io.pillow import MOST_PIXELS

_Entry: TypeAlias = tuple[tuple[int, int], list[tuple[str, Mapping[str, Any]]]]
"""(height, width) of an image, and its objects, each with where it is in the file."""


def read_coco(path: Path) -> Annotations:
    """Return the annotations of a COCO file by the `file_name` of its images; an object's label is its category's name.

    A crowd is an object like others. Masks are drawn when they are asked for.

    Raises:
        DataError: if the file is missing, no JSON, or lacks a key; the line or the key is named.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from camtool.datasets.annotations.coco import read_coco
        >>> cat = {"image_id": 7, "category_id": 3, "bbox": [1, 0, 2, 2], "segmentation": [[1, 0, 3, 0, 3, 2, 1, 2]]}
        >>> image = {"id": 7, "file_name": "a.jpg", "height": 3, "width": 4}
        >>> content = {"images": [image], "annotations": [cat], "categories": [{"id": 3, "name": "cat"}]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "instances.json"
        ...     _ = path.write_text(json.dumps(content))
        ...     (found,) = read_coco(path)["a.jpg"]
        >>> found.label, found.boxes.tolist(), int(found.mask.sum())
        ('cat', [[[0.0, 2.0], [1.0, 3.0]]], 4)
    """
    content = _json(path)
    names = {_key(one, "id", where): str(_key(one, "name", where)) for where, one in _dicts(content, "categories", path)}
    images: dict[Any, str] = {}
    entries: dict[str, _Entry] = {}
    for where, image in _dicts(content, "images", path):
        height, width = _key(image, "height", where), _key(image, "width", where)
        if not all(type(side) is int and side > 0 for side in (height, width)) or height * width > MOST_PIXELS:
            raise DataError(f"{where}: expected a height and a width in pixels, got {height!r} and {width!r}.")
        name = str(_key(image, "file_name", where))
        images[_key(image, "id", where)] = name
        entries[name] = (height, width), []
    for where, one in _dicts(content, "annotations", path):
        for key, known in (("image_id", images), ("category_id", names)):
            if _key(one, key, where) not in known:
                raise DataError(f"{where}.{key}: expected one of the file's, got {one[key]!r}.")
        entries[images[one["image_id"]]][1].append((where, one))
    return Annotations(entries, partial(_objects, names), f"'{path}'")


def _objects(names: Mapping[Any, str], entry: _Entry) -> list[Annotation]:
    size, objects = entry
    return [_object(names, size, where, one) for where, one in objects]


def _object(names: Mapping[Any, str], size: tuple[int, int], where: str, one: Mapping[str, Any]) -> Annotation:
    shape = one.get("segmentation")
    drawn = partial(_mask, where, shape, size) if shape else None
    if "bbox" in one or drawn is None:
        box: Any = one.get("bbox")
        if not _numbers(box, 4) or min(box[2:]) < 0:
            raise DataError(f"{where}.bbox: expected x, y, width and height, got {box!r}.")
        x, y, width, height = map(float, box)
        boxes = np.array([[[y, y + height], [x, x + width]]])
    else:
        boxes = Annotation.of_mask(drawn()).boxes
    return Annotation(names[one["category_id"]], size, boxes, drawn)


def _mask(where: str, shape: Any, size: tuple[int, int]) -> np.ndarray:
    try:
        if isinstance(shape, list) and all(isinstance(part, list) and _numbers(part) for part in shape):
            return of_polygons(shape, size)
        counts = shape.get("counts") if isinstance(shape, dict) else None
        if not isinstance(counts, str) and not (isinstance(counts, list) and all(type(run) is int for run in counts)):
            raise DataError("expected polygons, or run lengths with `counts` and `size`")
        if shape.get("size") != list(size):
            raise DataError(f"expected the size {list(size)} of its image, got {shape.get('size')!r}")
        return of_runs(runs_of_text(counts) if isinstance(counts, str) else counts, size)
    except DataError as error:
        raise DataError(f"{where}.segmentation: {error}.") from error


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"'{path}' cannot be read: {error}; expected JSON of COCO.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"'{path}', line {error.lineno}: {error.msg}; expected JSON of COCO.") from error
    if not isinstance(content, dict):
        raise DataError(f"'{path}' holds a {type(content).__name__}; expected COCO's images, annotations and categories.")
    return content


def _dicts(content: Mapping[str, Any], key: str, path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the dicts of a list, each with where it is, for messages."""
    found = content.get(key)
    if not isinstance(found, list):
        raise DataError(f"'{path}' has no list '{key}'; expected COCO's images, annotations and categories.")
    placed = [(f"'{path}': {key}[{k}]", one) for k, one in enumerate(found)]
    for where, one in placed:
        if not isinstance(one, dict):
            raise DataError(f"{where}: expected a dict, got a {type(one).__name__}.")
    return placed


def _key(one: Mapping[str, Any], key: str, where: str) -> Any:
    value = one.get(key)
    if not isinstance(value, (str, int)):
        raise DataError(f"{where}.{key}: expected a number or a name, got {value!r}.")
    return value


def _numbers(values: Any, count: int | None = None) -> bool:
    return (
        isinstance(values, Sequence)
        and (count is None or len(values) == count)
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )
