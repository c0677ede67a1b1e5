"""Labels as class indices: names, indices, or names of folders."""

from collections.abc import Sequence
from dataclasses import dataclass

from camtool.errors import DataError, TargetError, some, warn
from camtool.models.class_labels import find_class
from camtool.runs.data import RunData


@dataclass(frozen=True)
class Labels:
    """By label as it is written, the class's index; None for labels that are no classes of the network."""

    indices: dict[int | str, int | None]
    names: Sequence[str] | None = None
    """Class names, where the data set has them in the order of the indices."""

    def of(self, label: int | str | None) -> int | None:
        """Return a label's class index."""
        return self.indices.get(label, label if isinstance(label, int) else None) if label is not None else None


def read_labels(data: RunData, names: Sequence[str] | None, classes: int | None) -> Labels:
    """Return the class indices of a data set's labels.

    Numbers are indices. Other labels are names of classes; names of folders that are not those of the network's classes are classes in
    sorted order, if there are as many.

    Args:
        names: the network's class names.
        classes: the number of its classes; None if it does not give one score per class.

    Raises:
        DataError: if an index is out of range, or a name in a list is no class.
    """
    written = sorted({label for label in data.labels or () if label is not None}, key=str)
    if not written:
        return Labels({}, data.names)
    indices: dict[int | str, int | None] = {label: int(label) for label in written if _is_index(label)}
    if len(indices) == len(written):
        wrong = [index for index in indices.values() if index is not None and (index < 0 or (classes is not None and index >= classes))]
        if wrong and not data.from_folders:  # folders may be called by years
            upto = f"0 to {classes - 1}, the network's {classes} classes" if classes is not None else "0 or more"
            raise DataError(f"Label {wrong[0]} is out of range: expected {upto}.")
        if not wrong:
            return Labels(indices, data.names)
    try:
        return Labels({label: find_class(str(label), names, classes or 0) for label in written}, names)
    except TargetError as error:
        if not data.from_folders and classes is not None:
            raise DataError(f"A label of the data set is no class of the network: {error}") from error
    in_order = {label: number for number, label in enumerate(sorted(map(str, written)))}
    if classes is not None and len(written) != classes:
        warn(
            f"The {len(written)} sub-folders ({some([repr(str(label)) for label in written])}) are not the network's {classes} classes: "
            "samples have no label."
        )
        return Labels(dict.fromkeys(written))
    if names is not None:
        warn("The names of the sub-folders are not those of the network's classes: labels are their numbers in sorted order.")
    return Labels({label: in_order[str(label)] for label in written}, sorted(map(str, written)))


def _is_index(label: int | str) -> bool:
    return isinstance(label, int) or label.removeprefix("-").isdecimal()
