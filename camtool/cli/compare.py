"""`camtool compare`: two stores of the same samples, by their predictions and their maps."""

import csv
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.errors import CamtoolError

if TYPE_CHECKING:
    from camtool.analysis.comparison import ClassComparison, Comparison, Pair, Side

_COLUMNS = ("class", "samples", "agreement", "accuracy A", "accuracy B", "rank correlation", "energy distance")


def compare(
    first: Annotated[Path, typer.Argument(metavar="STORE_A", help="A folder that 'camtool run' wrote.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="STORE_B", help="Another one, of the same samples.", show_default=False)],
    method: Annotated[str | None, typer.Option("--method", metavar="NAME", help="Maps of this method; needed if A has several.")] = None,
    layer: Annotated[str | None, typer.Option("--layer", metavar="PATH", help="Maps of this layer; needed if A has several.")] = None,
    other_method: Annotated[
        str | None, typer.Option("--other-method", metavar="NAME", help="Of B. Left out: as --method, if B has it, else its only one.")
    ] = None,
    other_layer: Annotated[str | None, typer.Option("--other-layer", metavar="PATH", help="Of B, as --other-method.")] = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=100, metavar="N", help="How many of the samples that moved most.")] = 8,
    save_path: Annotated[
        Path | None, typer.Option("--save-path", "-o", metavar="FILE", help="A sheet of the samples that moved most.")
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write the table by class to this file.")] = None,
    config: Annotated[str, options.STORE_CONFIG] = "",
    other_config: Annotated[str, typer.Option("--other-config", metavar="CONFIG", help="That of B. Left out: as --config.")] = "",
    original: Annotated[bool, options.STORE_ORIGINAL] = False,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Compare two runs over the same samples, matched by content: agreement, rank correlation and energy distance of maps by class.

    Maps are those of the predicted class. The samples that moved most are those whose two maps have the lowest rank correlation.
    """
    with session(as_json=as_json, debug=debug) as running:
        import camtool.store
        from camtool.analysis.comparison import Side
        from camtool.analysis.comparison import compare as compare_stores
        from camtool.analysis.sources import only_source
        from camtool.apis.model import quiet_libraries
        from camtool.apis.stored_pictures import class_names
        from camtool.io.atomic import check_writable, write_atomically
        from camtool.io.images import check_format, encode
        from camtool.store.layout import check_outside

        if not debug:
            quiet_libraries()
        outputs = [Path(os.path.expanduser(path)) for path in (save_path, csv_file) if path is not None]
        for path in outputs:
            check_writable(path)
        if save_path is not None:
            check_format(save_path.suffix)
        own, other = camtool.store.open(first), camtool.store.open(second)
        for path in outputs:
            check_outside(path, own.folder)
            check_outside(path, other.folder)
        source = only_source(own, method, layer)
        asked = (other_method or _if_there(other, "method", source.method), other_layer or _if_there(other, "layer", source.layer))
        sides = Side(own, source), Side(other, only_source(other, *asked))
        found = compare_stores(*sides)
        names = class_names(own) or class_names(other)
        table = [_row("all", found.whole), *(_row(_class(one.label, names), one) for one in found.classes)]
        if save_path is not None:
            sheet = _sheet(sides, found.pairs[:most], names, configs=(config, other_config or config), original=original)
            write_atomically(outputs[0], encode(sheet, save_path.suffix))
        if csv_file is not None:
            write_atomically(outputs[-1], _as_csv(table))
        _report(running, found, table, found.pairs[:most], outputs, names, as_json=as_json)


def _if_there(store: Any, column: str, value: str) -> str | None:
    return value if value in store.distinct(column) else None


def _class(label: int | None, names: list[str] | None) -> str:
    from camtool.apis.stored_pictures import class_name

    return "not known" if label is None else class_name(label, names)


def _row(name: str, one: "ClassComparison") -> dict[str, Any]:
    values = (name, one.samples, one.agreement, *one.accuracies, one.correlation, one.distance)
    return {column: _defined(value) for column, value in zip(_COLUMNS, values, strict=True)}


def _defined(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_csv(table: list[dict[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, _COLUMNS)
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue().encode()


def _moved(pair: "Pair") -> dict[str, Any]:
    return {
        "path": pair.first["path"],
        "label": pair.first["label"],
        "predicted A": pair.first["predicted"],
        "predicted B": pair.second["predicted"],
        "rank correlation": _defined(pair.correlation),
    }


def _sheet(sides: "tuple[Side, Side]", pairs: "list[Pair]", names: list[str] | None, *, configs: tuple[str, str], original: bool) -> Any:
    """Return a sheet of two tiles for each sample: A, then B."""
    from camtool.apis.stored_pictures import StoredPictures
    from camtool.visualization.captioned_sheet import CaptionedPicture, captioned_sheet, no_picture

    wanted = [{pair.first["id"]: None for pair in pairs}, {pair.second["id"]: None for pair in pairs}]
    rows = [
        {row["id"]: row for row in type(side)(side.store.where(id=list(ids)), side.source).samples()}
        for side, ids in zip(sides, wanted, strict=True)
    ]
    readers = [StoredPictures.of(side.store, config, original=original) for side, config in zip(sides, configs, strict=True)]
    tiles = []
    for pair in pairs:
        for letter, reader, found, values in zip("AB", readers, rows, (pair.first, pair.second), strict=True):
            predicted = f"{letter}: {_class(values['predicted'], names)}"
            correlation = "none" if math.isnan(pair.correlation) else f"{pair.correlation:.2f}"
            captions = (values["path"], f"label: {_class(pair.first['label'], names)}", predicted, f"rank correlation: {correlation}")
            try:
                tiles.append(reader.read(found[values["id"]]).tile(captions))
            except CamtoolError as error:
                tiles.append(CaptionedPicture(no_picture(), captions, str(error)))
    return captioned_sheet(tiles, columns=2 if len(pairs) < 3 else 4, together=2)


def _report(
    running: Session,
    found: "Comparison",
    table: list[dict[str, Any]],
    pairs: "list[Pair]",
    outputs: list[Path],
    names: list[str] | None,
    *,
    as_json: bool,
) -> None:
    from camtool.cli import report

    moved = [_moved(pair) for pair in pairs]
    if as_json:
        described = {"classes": table, "moved": moved, "only_in": list(found.unmatched), "without_map": found.without_map}
        described |= {"size": list(found.size), "warnings": running.warnings, "outputs": [str(path) for path in outputs]}
        report.print_json(running, described)
        return
    from camtool.cli.console import results_console

    console = results_console(running)
    console.print(_table(table))
    if pairs:
        console.print("Moved most:")
        named = [{**row, **{column: _class(row[column], names) for column in ("label", "predicted A", "predicted B")}} for row in moved]
        console.print(_table(named))
    alone = f"only in A: {found.unmatched[0]}, only in B: {found.unmatched[1]}"
    running.remark(f"Samples {alone}, in both, but without a map in one: {found.without_map}.")
    for path in outputs:
        console.print(f"Saved: {path}", soft_wrap=True)


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()))
    return table
