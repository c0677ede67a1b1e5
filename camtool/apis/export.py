"""Export of a store: overlays, arrays, NIfTI, ViRelAy's HDF5, FiftyOne's JSON; a new folder, whole or absent."""

import contextlib
import csv
import io
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from camtool.apis.fiftyone import FiftyOneSamples
from camtool.apis.outputs import as_file_name
from camtool.apis.stored_pictures import StoredPictures, class_names
from camtool.errors import DataError, ImageError, OutputError, closest
from camtool.io.atomic import check_writable, whole_folder
from camtool.io.images import encode
from camtool.io.volumes.nifti import check_nibabel, nifti
from camtool.store import MapRow, Store
from camtool.store.attribution_files import AttributionFile
from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY, check_style

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


@dataclass
class Exported:
    """What was exported, and what could not be."""

    rows: int = 0
    """Rows that are in the folder."""
    left_out: dict[str, str] = field(default_factory=dict)
    """By path of the sample why a row of it is not."""


class Format(ABC):
    """A format: takes rows in order, one after the other, and writes into a folder."""

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

    suffix: str

    def __init__(self, folder: Path, store: Store, pictures: StoredPictures, options: ExportOptions) -> None:
        super().__init__(folder, store, pictures, options)
        self._names: set[str] = set()
        # Row by row: the table of a large store does not fit into memory.
        self._table = (folder / INDEX).open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._table)
        self._writer.writerow(["file", *COLUMNS])

    @abstractmethod
    def content(self, row: MapRow) -> bytes:
        """Return a row's file."""

    def add(self, row: MapRow) -> None:
        content = self.content(row)
        name = self._name(row)
        (self.folder / name).write_bytes(content)
        self._writer.writerow([name, *("" if row.values.get(column) is None else row[column] for column in COLUMNS)])

    def close(self) -> None:
        self._table.close()

    def _name(self, row: MapRow) -> str:
        """Return a name that no other row has: nothing of the sample's path but letters, and the number of the sample before it."""
        target = "" if row["target"] is None else str(row["target"])
        parts = (f"{row['id']:08d}", Path(row["path"]).stem, row["method"], target, row["layer"] or "")
        plain = "_".join(filter(None, (_cut(as_file_name(part)) for part in parts)))
        name, number = plain, 1
        while name.casefold() in self._names:
            number += 1
            name = f"{plain}_{number}"
        self._names.add(name.casefold())
        return f"{name}{self.suffix}"


class Overlays(OneFileARow):
    """The picture under its map."""

    suffix = ".png"

    def content(self, row: MapRow) -> bytes:
        return encode(self.pictures.read(row).overlay(self.options.colormap, self.options.opacity), self.suffix)


class Arrays(OneFileARow):
    """The raw map at the features' resolution, signed, float32."""

    suffix = ".npy"

    def content(self, row: MapRow) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, _map_of(row), allow_pickle=False)
        return buffer.getvalue()


class Nifti(OneFileARow):
    """The raw map as a volume whose affine leads to the input's voxels."""

    suffix = ".nii"

    @classmethod
    def check(cls) -> None:
        check_nibabel()

    def content(self, row: MapRow) -> bytes:
        values, place = _map_of(row), row.placement
        assert place is not None
        return nifti(values, place.scale, place.offset)


class Hdf5(Format):
    """ViRelAy's attribution files, one of each method and layer, and its label map."""

    def __init__(self, folder: Path, store: Store, pictures: StoredPictures, options: ExportOptions) -> None:
        super().__init__(folder, store, pictures, options)
        self._names = class_names(store) or []
        known = [value for column in ("label", "predicted", "target") for value in store.distinct(column)]
        self._classes = max([len(self._names), *(value + 1 for value in known)])
        self._files: dict[tuple[str, str], AttributionFile] = {}
        self._open = contextlib.ExitStack()

    def add(self, row: MapRow) -> None:
        missing = next((name for name in ("label", "predicted") if row[name] is None), None)
        if missing:
            raise DataError(f"its {missing}{' class' if missing == 'predicted' else ''} is not known, and ViRelAy needs one")
        if len(row.input_size or ()) != 2:
            raise DataError("it has no map of two axes")
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
        labels = [{"index": index, "word_net_id": f"{index}", "name": name} for index, name in enumerate(names)]
        (self.folder / "label_map.json").write_text(json.dumps(labels), encoding="utf-8")


class FiftyOne(Format):
    """FiftyOne's data set of samples with a heat map for each method."""

    def __init__(self, folder: Path, store: Store, pictures: StoredPictures, options: ExportOptions) -> None:
        pictures.original = True  # it shows whole pictures
        super().__init__(folder, store, pictures, options)
        self._samples = FiftyOneSamples(folder, store)

    def add(self, row: MapRow) -> None:
        self._samples.add(row, self.pictures.read(row).saliency)

    def close(self) -> None:
        self._samples.close()


FORMATS: Mapping[str, type[Format]] = {"png": Overlays, "npy": Arrays, "nifti": Nifti, "hdf5": Hdf5, "fiftyone": FiftyOne}


def export(
    store: Store,
    out: Path,
    kind: str,
    *,
    config: str = "",
    original: bool = False,
    limit: int | None = None,
    options: ExportOptions | None = None,
) -> Exported:
    """Write the rows of a store into a new or empty folder, in one of FORMATS; return what was written and what was left out.

    A row without a map, or whose picture is gone or has changed, is left out, and named.

    Args:
        config: of the run, whose preprocessing says which part of a picture was seen; "": the rows say it.
        original: draw on whole pictures.
        limit: most rows; None: all.

    Raises:
        OutputError: if there is no such format, its library is missing, or the folder has files in it or cannot be written.
        DataError: if no row can be exported, or a shard is damaged.

    Example:
        >>> import tempfile, torch, camtool.store
        >>> from camtool.store.layout import write_run
        >>> from camtool.store.schema import Row
        >>> from camtool.store.writer import write_rows
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = write_run(Path(folder) / "store", {"fingerprint": {}, "samples": 1, "shard_size": 64})
        ...     row = Row(0, "../cat.jpg", "gradcam", layer="[0]", map=torch.eye(2), placement=(16.0, 16.0, 7.5, 7.5))
        ...     record = write_rows(Path(folder) / "store", 0, [row])
        ...     rows = export(camtool.store.open(Path(folder) / "store"), Path(folder) / "arrays", "npy").rows
        ...     rows, sorted(path.name for path in (Path(folder) / "arrays").iterdir())
        (1, ['00000000_cat_gradcam_0.npy', 'index.csv'])
    """
    options = options or ExportOptions()
    chosen = check_export(out, kind, options)
    if store.folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise OutputError(f"'{out}' is inside of the store; expected a folder beside it.")
    pictures = StoredPictures.of(store, config, original=original)
    done = Exported()
    with _renewed(out), whole_folder(out) as folder:
        writing = chosen(folder, store, pictures, options)
        try:
            for row in _limited(store, limit):
                try:
                    writing.add(row)
                except (ImageError, DataError) as error:
                    done.left_out.setdefault(row["path"], str(error).rstrip("."))
                else:
                    done.rows += 1
        finally:
            writing.close()
        if not done.rows:
            first = next(iter(done.left_out.items()), ("the store", "it has no rows"))
            raise DataError(f"Nothing can be exported as {kind}; {first[0]}: {first[1]}.")
    return done


@contextlib.contextmanager
def _renewed(out: Path) -> Iterator[None]:
    """Remove an empty folder, which a whole one takes the place of; make it again after an exception."""
    was_there = out.is_dir()
    if was_there:
        out.rmdir()
    try:
        yield
    except BaseException:
        if was_there:
            out.mkdir(exist_ok=True)
        raise


def check_export(out: Path, kind: str, options: ExportOptions) -> type[Format]:
    """Return the format; OutputError if there is none, its library is missing, or the folder is not new or empty."""
    if kind not in FORMATS:
        raise OutputError(f"Unknown format '{kind}'{closest(kind, FORMATS)}; expected one of: {', '.join(FORMATS)}.")
    check_style(options.colormap, options.opacity)
    FORMATS[kind].check()
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"'{out}' is no folder; expected the path of a new folder, or of an empty one.")
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"'{out}' has files in it; expected a new folder, or an empty one.")
    check_writable(out / INDEX)
    return FORMATS[kind]


def _limited(store: Store, limit: int | None) -> Iterator[MapRow]:
    return itertools.islice(store, limit)


def _map_of(row: MapRow) -> np.ndarray:
    if row.map is None:
        raise DataError(f"it has no map: {row['status']}")
    return row.map.numpy()


def _cut(part: str) -> str:
    return part.encode()[:_LONGEST].decode(errors="ignore")
