"""Annotation: an object's boxes and mask; those of a data set by sample; the masks of a class."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Num

from camtool.errors import DataError, closest, some
from camtool.io.names import stem_of

Label: TypeAlias = str | int | None
"""Name or number of an object's class; None: not known, an object of whatever class is asked for."""

RULES = ("union", "largest", "each")


@dataclass(frozen=True, eq=False)
class Annotation:
    """An object of a sample, where it was marked.

    Example:
        >>> import numpy as np
        >>> from camtool.datasets.annotations import Annotation
        >>> cat = Annotation("cat", (4, 6), np.array([[[1, 3], [2, 6]]]))
        >>> cat.mask is None, int(cat.region.sum())
        (True, 8)
    """

    label: Label
    size: tuple[int, ...]
    """Of the sample, by axis; (height, width) of a picture."""
    boxes: Num[np.ndarray, "k rank 2"]
    """(first, last + 1) along each axis, in the order of `size`; borders of positions, which may be fractions."""
    drawn: Callable[[], np.ndarray] | None = None
    """Makes the mask, which is kept small until it is needed; None: only boxes were marked."""

    @property
    def mask(self) -> Bool[np.ndarray, "*size"] | None:
        """The object's positions, made when asked for; None: only boxes were marked."""
        return None if self.drawn is None else np.asarray(self.drawn(), bool)

    @property
    def region(self) -> Bool[np.ndarray, "*size"]:
        """The mask, or else the positions whose centres are in the boxes."""
        mask = self.mask
        if mask is not None:
            return mask
        inside = np.zeros(self.size, bool)
        for box in self.boxes:
            edges = np.ceil(box - 0.5).clip(0, np.array(self.size)[:, None]).astype(int)
            inside[tuple(slice(first, last) for first, last in edges)] = True
        return inside

    @classmethod
    def of_mask(cls, mask: np.ndarray, label: Label = None) -> "Annotation":
        """Return the annotation of a mask, with the box around it.

        Raises:
            DataError: if it is empty.
        """
        inside = np.asarray(mask) != 0
        return cls(label, inside.shape, bounding_box(inside)[None], inside.copy)


class Annotations:
    """Annotations by sample: a mapping from names to tuples of annotations, which are read when they are asked for.

    A sample is found by the name that the annotations have for it, or by a name that differs in the folders before it and the suffix only:
    `val/n01/ILSVRC_7.JPEG` is `ILSVRC_7`.

    Args:
        entries: by name what `read` takes.
        read: returns the annotations of an entry.
        source: what they are called in messages.

    Example:
        >>> from camtool.datasets.annotations import Annotations
        >>> found = Annotations({"cats/1.png": 3}, lambda entry: (), "folder 'masks'")
        >>> found["pictures/cats/1.jpg"], "cats/2.jpg" in found
        ((), False)
    """

    def __init__(self, entries: Mapping[str, Any], read: Callable[[Any], Sequence[Annotation]], source: str) -> None:
        self._entries, self._read, self.source = dict(entries), read, source
        self._alike: dict[str, list[str]] = {}
        for name in self._entries:
            self._alike.setdefault(_parts(name)[-1], []).append(name)

    def __getitem__(self, name: str) -> tuple[Annotation, ...]:
        """Return a sample's annotations; DataError if there are none of such a sample, several samples fit, or they cannot be read."""
        return tuple(self._read(self._entries[self.entry_of(name)]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and len(self._fitting(name)) == 1

    def get(self, name: str, default: Any = None) -> Any:
        """Return a sample's annotations, or `default` if there is no such sample, or several fit."""
        fitting = self._fitting(name)
        return self[fitting[0]] if len(fitting) == 1 else default

    def entry_of(self, name: str) -> str:
        """Return the name that the annotations have for a sample; DataError if there is none, or several."""
        fitting = self._fitting(name)
        if len(fitting) != 1:
            several = f"several samples fit, {some([repr(found) for found in fitting])}" if fitting else "there are none"
            near = "" if fitting else closest(name, self._entries)
            raise DataError(f"No annotations of '{name}' in {self.source}: {several}{near}.")
        return fitting[0]

    def _fitting(self, name: str) -> list[str]:
        if name in self._entries:
            return [name]
        wanted = _parts(name)
        return [found for found in self._alike.get(wanted[-1], []) if _same_end(_parts(found), wanted)]


def bounding_box(mask: np.ndarray) -> np.ndarray:
    """Return the box around a mask, (first, last + 1) along each axis, (rank, 2).

    Raises:
        DataError: if the mask is empty.

    Example:
        >>> import numpy as np
        >>> from camtool.datasets.annotations import bounding_box
        >>> bounding_box(np.array([[0, 0, 0], [0, 1, 1]])).tolist()
        [[1, 2], [1, 3]]
    """
    places = np.argwhere(mask)
    if not len(places):
        raise DataError("Expected a mask with at least one position, got an empty one; leave the sample out.")
    return np.stack([places.min(axis=0), places.max(axis=0) + 1], axis=1)


def class_masks(
    annotations: Sequence[Annotation], label: Label | Collection[Label] = None, rule: str = "union"
) -> Bool[np.ndarray, "k *size"]:
    """Return the masks that a map of a class is compared with, of the sample's objects of that class; boxes count where no mask is.

    Args:
        annotations: of one sample.
        label: the class's name or number, or all that it is called (name, synset, number); names are compared without regard to capitals.
            An object without a label is of every class. None: all objects.
        rule: "union": one mask of all; "largest": that of the object with most positions, of equal ones the first; "each": one an object.

    Raises:
        DataError: if there is no such rule, no object of the class, or one's mask is empty.

    Example:
        >>> import numpy as np
        >>> from camtool.datasets.annotations import Annotation, class_masks
        >>> objects = [Annotation.of_mask(np.array([1, 0, 0, 0]), "cat"), Annotation.of_mask(np.array([0, 0, 1, 1]), "cat")]
        >>> class_masks(objects, "cat").astype(int), class_masks(objects, "cat", "largest").astype(int)
        (array([[1, 0, 1, 1]]), array([[0, 0, 1, 1]]))
    """
    if rule not in RULES:
        raise DataError(f"No rule '{rule}'{closest(rule, RULES)}; expected {', '.join(RULES)}.")
    wanted = {_folded(one) for one in (label if isinstance(label, Collection) and not isinstance(label, str) else [label])}
    chosen = [one for one in annotations if None in wanted or one.label is None or _folded(one.label) in wanted]
    if not chosen:
        words = " or ".join(sorted({f"'{one}'" for one in wanted - {None}})) or "any class"
        there = some(sorted({f"'{one.label}'" for one in annotations})) or "none at all"
        raise DataError(f"Expected an annotated object of {words}, got {there}; leave the sample out.")
    regions = [one.region for one in chosen]
    if len({region.shape for region in regions}) > 1:
        raise DataError(f"Expected objects of one sample, got sizes {some(sorted({str(region.shape) for region in regions}))}.")
    for one, region in zip(chosen, regions, strict=True):
        if not region.any():
            raise DataError(f"Expected a mask with at least one position, got an empty one of '{one.label}'; leave the sample out.")
    masks = np.stack(regions)
    if rule == "union":
        return np.asarray(masks.any(axis=0, keepdims=True))
    return masks if rule == "each" else masks[[int(masks.reshape(len(masks), -1).sum(axis=1).argmax())]]


def _folded(label: Label) -> Label:
    return label.casefold() if isinstance(label, str) else label


def _parts(name: str) -> tuple[str, ...]:
    path = Path(name.replace("\\", "/"))
    return (*path.parts[:-1], stem_of(path))


def _same_end(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shared = min(len(one), len(other))
    return one[-shared:] == other[-shared:]
