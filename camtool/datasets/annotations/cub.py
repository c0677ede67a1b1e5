"""Annotations of CUB-200-2011: boxes in text files, and segmentations as grey pictures."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from camtool.datasets.annotations.annotation import Annotation, Annotations
from camtool.datasets.annotations.mask_files import picture_values
from camtool.errors import DataError
from camtool.io.pillow import open_of_any_size

_MAJORITY = 128  # of 255: several people drew each bird


def read_cub(path: Path) -> Annotations:
    """Return the annotations of CUB-200-2011 by the paths in `images.txt`; the label is the class's number less 1, as networks count.

    `images.txt`, `bounding_boxes.txt` and `image_class_labels.txt` are read at once; where `segmentations/` has a picture, pixels that most
    people marked are the mask. Sizes are those of the segmentations, or of the pictures in `images/`.

    Raises:
        DataError: if a file is missing, or a line is none of such a file; file and line are named. Of a sample: if there is neither a
            segmentation nor a picture.
    """
    boxes = {number: _numbers(path / "bounding_boxes.txt", line, values, 4) for line, number, values in _lines(path / "bounding_boxes.txt")}
    classes = {
        number: int(_numbers(path / "image_class_labels.txt", line, values, 1)[0])
        for line, number, values in _lines(path / "image_class_labels.txt")
    }
    entries = {}
    for line, number, values in _lines(path / "images.txt"):
        name = " ".join(values)
        for known, file in ((boxes, "bounding_boxes.txt"), (classes, "image_class_labels.txt")):
            if number not in known:
                raise DataError(f"'{path / 'images.txt'}', line {line}: image {number} is not in {file}.")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"'{path / 'images.txt'}', line {line}: expected a path within the data set, got '{name}'.")
        entries[name] = (name, boxes[number], classes[number] - 1)
    return Annotations(entries, partial(_bird, path), f"'{path}'")


def _bird(path: Path, entry: tuple[str, list[float], int]) -> list[Annotation]:
    name, (x, y, width, height), label = entry
    boxes = np.array([[[y, y + height], [x, x + width]]])
    segmentation = (path / "segmentations" / name).with_suffix(".png")
    if segmentation.is_file():
        return [Annotation(label, _size(segmentation), boxes, partial(_majority, segmentation))]
    if (path / "images" / name).is_file():
        return [Annotation(label, _size(path / "images" / name), boxes)]
    raise DataError(f"Neither '{segmentation}' nor '{path / 'images' / name}' exists; expected one, for the picture's size.")


def _majority(path: Path) -> np.ndarray:
    values, _ = picture_values(path)
    return values >= (_MAJORITY if values.dtype != bool else 1)


def _size(path: Path) -> tuple[int, int]:
    try:
        with open_of_any_size(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise DataError(f"'{path}' cannot be read: {str(error).rstrip('.')}.") from error


def _lines(file: Path) -> list[tuple[int, str, list[str]]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{file}' cannot be read: {error}; expected a file of CUB-200-2011.") from error
    found = []
    for line, words in enumerate((row.split() for row in text.splitlines()), start=1):
        if len(words) < 2 or not words[0].isdigit():
            raise DataError(
                f"'{file}', line {line}: expected the number of an image and what is known of it, got '{' '.join(words)[:60]}'."
            )
        found.append((line, words[0], words[1:]))
    return found


def _numbers(file: Path, line: int, values: list[str], count: int) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(0 <= number < 1e9 for number in numbers):
        raise DataError(f"'{file}', line {line}: expected {count} number{'s' * (count > 1)} of 0 or more, got '{' '.join(values)[:60]}'.")
    return numbers
