"""`camtool show`: a contact sheet of a store's rows, all or those that satisfy a condition."""

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.errors import CamtoolError, DataError, warn

if TYPE_CHECKING:
    from camtool.store import MapRow, Store

MOST = 200
"""Pictures of a sheet."""


def show(
    folder: Annotated[Path, options.STORE],
    query: Annotated[
        str, typer.Option("--query", metavar="CONDITION", help="As behind WHERE in SQL: 'label != predicted AND probability > 0.9'.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST, metavar="N", help="At most so many pictures.")] = 16,
    method: Annotated[list[str] | None, options.OF_METHOD] = None,
    layer: Annotated[list[str] | None, options.OF_LAYER] = None,
    save_path: Annotated[Path, typer.Option("--save-path", "-o", metavar="FILE", help="The sheet.")] = Path("sheet.png"),
    config: Annotated[str, options.STORE_CONFIG] = "",
    original: Annotated[bool, options.STORE_ORIGINAL] = False,
    colormap: Annotated[str, typer.Option("--colormap", help="As in 'camtool vis'.")] = "jet",
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Draw a sheet of a store's samples: each under its map, with path, label, prediction, probability and method.

    A label that is not known matches no condition, but "label IS NULL".
    """
    with session(as_json=as_json, debug=debug) as running:
        import camtool.store
        from camtool.apis.model import quiet_libraries
        from camtool.io.atomic import check_writable, write_atomically
        from camtool.io.images import check_format, encode
        from camtool.store.layout import check_outside
        from camtool.visualization.overlay import colours_of

        if not debug:
            quiet_libraries()
        colours_of(colormap)
        save_path = Path(os.path.expanduser(save_path))
        check_format(save_path.suffix)
        check_writable(save_path)
        store = camtool.store.open(folder)
        check_outside(save_path, store.folder)
        rows = list(itertools.islice(_rows(store, query, method, layer), limit))
        if not rows:
            raise DataError(f"No row of the store '{folder}' satisfies {_asked(query, method, layer)}.")
        if not store.is_complete:
            warn(f"The run of '{folder}' has not ended; what is there is shown. The same 'camtool run' goes on.")
        sheet = _sheet(store, rows, config=config, original=original, colormap=colormap)
        write_atomically(save_path, encode(sheet, save_path.suffix))
        _report(running, rows, save_path, as_json=as_json)


def _rows(store: "Store", query: str, method: list[str] | None, layer: list[str] | None) -> "Iterator[MapRow]":
    chosen = store.where(**{name: values for name, values in (("method", method), ("layer", layer)) if values})
    if not query:
        return iter(chosen)
    from camtool.store.query import matching

    return matching(chosen, query)


def _asked(query: str, method: list[str] | None, layer: list[str] | None) -> str:
    asked = [query, *(f"method {name}" for name in method or ()), *(f"layer {name}" for name in layer or ())]
    return " and ".join(filter(None, asked)) or "anything: it has none"


def _sheet(store: "Store", rows: "list[MapRow]", *, config: str, original: bool, colormap: str) -> Any:
    from camtool.apis.stored_pictures import StoredPictures, captions_of, class_names
    from camtool.visualization.captioned_sheet import CaptionedPicture, captioned_sheet, no_picture

    pictures, names = StoredPictures.of(store, config, original=original), class_names(store)
    tiles, reasons = [], []
    for row in rows:
        remark, captions = "" if row["status"] == "ok" else row["status"], captions_of(row, names)
        try:
            tiles.append(pictures.read(row).tile(captions, remark, colormap))
        except (CamtoolError, MemoryError) as error:
            reasons.append(str(error))
            tiles.append(CaptionedPicture(no_picture(), captions, remark or reasons[-1]))
    if len(reasons) == len(rows):
        warn(f"None of the samples can be drawn: {reasons[0]}")
    return captioned_sheet(tiles)


def _defined(value: Any) -> Any:
    """Return a value as JSON has it: NaN is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _report(running: Session, rows: "list[MapRow]", save_path: Path, *, as_json: bool) -> None:
    from camtool.cli import report

    columns = ("id", "path", "label", "predicted", "target", "probability", "method", "layer", "status", "reason")
    described = [{name: _defined(row[name]) for name in columns} for row in rows]
    if as_json:
        report.print_json(running, {"rows": described, "warnings": running.warnings, "outputs": [str(save_path)]})
        return
    from rich.table import Table

    from camtool.cli.console import results_console

    table = Table(box=None, pad_edge=False)
    for heading in columns[:-1]:
        table.add_column(heading, overflow="fold")
    for row in described:
        values = {**row, "probability": None if row["probability"] is None else f"{row['probability']:.4f}"}
        table.add_row(*("" if values[name] is None else str(values[name]) for name in columns[:-1]))
    console = results_console(running)
    console.print(table)
    console.print(f"Saved: {save_path}", soft_wrap=True)
