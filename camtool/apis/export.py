"""Export of a store: overlays, arrays, volumes, ViRelAy's HDF5, FiftyOne's JSON; a new folder, whole or absent."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from camtool.apis.export_formats import FORMATS, INDEX, ExportOptions, Format
from camtool.apis.stored_pictures import StoredPictures
from camtool.errors import DataError, ImageError, OutputError, closest
from camtool.io.atomic import check_writable, whole_folder
from camtool.store import MapRow, Store
from camtool.visualization.overlay import check_style

__all__ = ["FORMATS", "ExportOptions", "Exported", "export"]


@dataclass
class Exported:
    """What was exported, and what could not be."""

    rows: int = 0
    """Rows that are in the folder."""
    left_out: dict[str, str] = field(default_factory=dict)
    """By path of the sample why a row of it is not."""


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

    A row without a map, or whose sample is gone or has changed, is left out, and named.

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
    chosen = check_export(out, kind, options, original=original)
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


def check_export(out: Path, kind: str, options: ExportOptions, *, original: bool) -> type[Format]:
    """Return the format; OutputError if there is none, it shows no such setting, its library is missing, or the folder is not empty."""
    if kind not in FORMATS:
        raise OutputError(f"Unknown format '{kind}'{closest(kind, FORMATS)}; expected one of: {', '.join(FORMATS)}.")
    check_style(options.colormap, options.opacity)
    given = {"original": original} | {one.name: getattr(options, one.name) != one.default for one in fields(options)}
    for name in (name for name, chosen in given.items() if chosen and name not in FORMATS[kind].shows):
        others = ", ".join(other for other, one in FORMATS.items() if name in one.shows)
        raise OutputError(f"Expected options that --format {kind} shows, got --{name}; leave it out, or try one of: {others}.")
    FORMATS[kind].check()
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"'{out}' is no folder; expected the path of a new folder, or of an empty one.")
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"'{out}' has files in it; expected a new folder, or an empty one.")
    check_writable(out / INDEX)
    return FORMATS[kind]


def _limited(store: Store, limit: int | None) -> Iterator[MapRow]:
    return itertools.islice(store, limit)
