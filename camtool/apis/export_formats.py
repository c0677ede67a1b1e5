"""Formats of an export: overlays, arrays, NIfTI, volumes, ViRelAy's HDF5, FiftyOne's JSON."""

import contextlib
import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from camtool.apis.fiftyone import FiftyOneSamples
from camtool.apis.outputs import as_file_name
from camtool.apis.stored_pictures import StoredPictures, captions_of, class_names
from camtool.errors import DataError
from camtool.io.images import encode
from camtool.io.volumes.nifti import check_nibabel, nifti
from camtool.store import MapRow, Store
from camtool.store.attribution_files import AttributionFile
from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY

INDEX = "index.csv"
COLUMNS = (
    *("id", "path", "label", "predicted", "target", "probability", "logit", "method", "layer", "map_shape", "placement", "input_size"),
    *("min", "max", "sum", "status", "reason"),
)
_LONGEST = 60  # bytes of a part of a file's name; file systems allow 255 in all


@dataclass(frozen=True)
class ExportOptions:
    """How maps are drawn."""

    colormap: str = DEFAULT_COLORMAP
    opacity: float = DEFAULT_OPACITY


class Format(ABC):
    """A format: takes rows in order, one after the other, and writes into a folder."""

    shows: ClassVar[Collection[str]] = ()
    """Of the settings "colormap", "opacity" and "original" those that change a file, or ask for what it has anyway."""

    def __init__(self, folder: Path, store: Store, pictures: StoredPictures, options: ExportOptions) -> None:
        self.folder = folder
        self.store = store
        self.pictures = pictures
        self.options = options

    @classmethod  # noqa: B027 - most need nothing
    def check(cls) -> None:
        """Raise OutputError if a library is missing."""

    @abstractmethod
    def add(self, row: MapRow) -> None:
        """Write a row; CamtoolError, and nothing written, if it cannot be."""

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Write what comes after the last row."""


class OneFileARow(Format):
    """A file for each row, named after sample, method, target and layer, and a table of them."""

    def __init__(self, folder: Path, store: Store, pictures: StoredPictures, options: ExportOptions) -> None:
        super().__init__(folder, store, pictures, options)
        self._names: set[str] = set()
        # Row by row: the table of a large store does not fit into memory.
        self._table = (folder / INDEX).open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._table)
        self._writer.writerow(["file", *COLUMNS])

    @abstractmethod
    def file(self, row: MapRow) -> tuple[str, bytes]:
        """Return the suffix and the content of a row's file."""

    def add(self, row: MapRow) -> None:
        suffix, content = self.file(row)
        name = f"{self._stem(row)}{suffix}"
        (self.folder / name).write_bytes(content)
        self._writer.writerow([name, *("" if row.values.get(column) is None else row[column] for column in COLUMNS)])

    def close(self) -> None:
        self._table.close()

    def _stem(self, row: MapRow) -> str:
        """Return a name without suffix that no other row has: the number of the sample, and nothing of its path but letters."""
        target = "" if row["target"] is None else str(row["target"])
        parts = (f"{row['id']:08d}", Path(row["path"]).stem, row["method"], target, row["layer"] or "")
        plain = "_".join(filter(None, (_cut(as_file_name(part)) for part in parts)))
        name, number = plain, 1
        while name.casefold() in self._names:
            number += 1
            name = f"{plain}_{number}"
        self._names.add(name.casefold())
        return name


class Overlays(OneFileARow):
    """The sample under its map: a picture, slices of a volume, a signal over time."""

    shows = ("colormap", "opacity", "original")

    def __init__(self, folder: Path, store: Store, pictures: StoredPictures, options: ExportOptions) -> None:
        super().__init__(folder, store, pictures, options)
        self._classes = class_names(store)

    def file(self, row: MapRow) -> tuple[str, bytes]:
        _, *classes, method = captions_of(row, self._classes)
        figure = self.pictures.read(row).overlay(self.options.colormap, self.options.opacity, ("; ".join(classes), method))
        return ".png", encode(figure, ".png")


class Volumes(OneFileARow):
    """The map on the voxels of its scan, in [0, 1], in the scan's format: it opens over the scan in any viewer."""

    shows = ("original",)

    def file(self, row: MapRow) -> tuple[str, bytes]:
        files = self.pictures.read(row).aligned()
        if not files:
            raise DataError("it is no volume, of whose voxels a map could be written")
        return next(iter(files.items()))


class Arrays(OneFileARow):
    """The raw map at the features' resolution, signed, float32."""

    def file(self, row: MapRow) -> tuple[str, bytes]:
        buffer = io.BytesIO()
        np.save(buffer, _map_of(row), allow_pickle=False)
        return ".npy", buffer.getvalue()


class Nifti(OneFileARow):
    """The raw map as a volume whose affine leads to the input's voxels."""

    @classmethod
    def check(cls) -> None:
        check_nibabel()

    def file(self, row: MapRow) -> tuple[str, bytes]:
        values, place = _map_of(row), row.placement
        assert place is not None
        return ".nii", nifti(values, place.scale, place.offset)


class Hdf5(Format):
    """ViRelAy's attribution files, one of each method and layer, and its label map."""

    def __init__(self, folder: Path, store: Store, pictures: StoredPictures, options: ExportOptions) -> None:
        super().__init__(folder, store, pictures, options)
        self._names = class_names(store) or []
        known = [value for column in ("label", "predicted", "target") for value in store.distinct(column)]
        self._classes = max([len(self._names), *(value + 1 for value in known)])
        self._has_several = any(_repeats(table) for table in store.tables(["id", "method", "layer"]))
        self._files: dict[tuple[str, str], AttributionFile] = {}
        self._open = contextlib.ExitStack()

    def add(self, row: MapRow) -> None:
        missing = next((name for name in ("label", "predicted") if row[name] is None), None)
        if missing:
            raise DataError(f"its {missing}{' class' if missing == 'predicted' else ''} is not known, and ViRelAy needs one")
        if len(row.input_size or ()) != 2:
            raise DataError("it has no map of two axes")
        if self._has_several and row["target"] not in (None, row["predicted"]):
            raise DataError("it has several rows, and ViRelAy reads one a sample: that of the predicted class")
        key = (row["method"], row["layer"] or "")
        if key not in self._files:
            stem = "_".join(filter(None, (_cut(as_file_name(part)) for part in ("attribution", *key))))
            path = self.folder / f"{stem}.h5"
            path = path if not path.exists() else self.folder / f"{stem}_{len(self._files)}.h5"
            self._files[key] = self._open.enter_context(AttributionFile(path, self._classes))
        explained = row["predicted"] if row["target"] is None else row["target"]
        self._files[key].append(row["id"], row.resized(), row["label"], explained, row["probability"] or 0.0)

    def close(self) -> None:
        self._open.close()
        names = [*self._names, *map(str, range(len(self._names), self._classes))]
        # A picture's folder names its class, which ViRelAy looks for among these ids; two classes of one name need two.
        first = {name: index for index, name in reversed(list(enumerate(names)))}
        labels = [
            {"index": index, "word_net_id": name if first[name] == index else f"{index}", "name": name} for index, name in enumerate(names)
        ]
        (self.folder / "label_map.json").write_text(json.dumps(labels), encoding="utf-8")


class FiftyOne(Format):
    """FiftyOne's data set of samples with a heat map for each method."""

    shows = ("original",)

    def __init__(self, folder: Path, store: Store, pictures: StoredPictures, options: ExportOptions) -> None:
        pictures.original = True  # it shows whole pictures
        super().__init__(folder, store, pictures, options)
        self._samples = FiftyOneSamples(folder, store)

    def add(self, row: MapRow) -> None:
        saliency = self.pictures.read(row).saliency
        if saliency.ndim != 2:
            raise DataError("it is no picture, as FiftyOne's heat maps lie over")
        self._samples.add(row, saliency)

    def close(self) -> None:
        self._samples.close()


FORMATS: Mapping[str, type[Format]] = {
    "png": Overlays,
    "npy": Arrays,
    "nifti": Nifti,
    "volume": Volumes,
    "hdf5": Hdf5,
    "fiftyone": FiftyOne,
}


def _repeats(table: Any) -> bool:
    """Return whether a sample has several rows of a method and layer: maps of several classes."""
    return bool(table.group_by(table.column_names).aggregate([]).num_rows < table.num_rows)


def _map_of(row: MapRow) -> np.ndarray:
    if row.map is None:
        raise DataError(f"it has no map: {row['status']}")
    return row.map.numpy()


def _cut(part: str) -> str:
    return part.encode()[:_LONGEST].decode(errors="ignore")
