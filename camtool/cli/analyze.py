"""What the commands of `camtool analyze` share: the store, the folder of their results, and the method and layer that are chosen."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from camtool.cli import options
from camtool.cli.command import Session

if TYPE_CHECKING:
    from camtool.analysis.sources import Source
    from camtool.store import Store

StorePath: TypeAlias = Annotated[Path, typer.Argument(metavar="STORE", help="Folder that 'camtool run … --out STORE' has written.")]
Methods: TypeAlias = Annotated[list[str] | None, typer.Option("--method", metavar="NAME…", help="Only maps of these. Left out: all.")]
Layers: TypeAlias = Annotated[list[str] | None, typer.Option("--layer", metavar="PATH…", help="Only maps of these. Left out: all.")]
Out: TypeAlias = Annotated[
    Path | None, typer.Option("--out", "--out-dir", "-o", metavar="DIR", help="Folder of the files. Left out: <STORE>-analysis.")
]
Json: TypeAlias = Annotated[bool, options.JSON]
Debug: TypeAlias = Annotated[bool, options.DEBUG]


class Analysis:
    """A store that is analysed: its chosen methods and layers, and where results go, which is never inside the store.

    Raises:
        DataError: if it is no store, or has no maps of a method or layer that is asked for.
        OutputError: if the folder of the results is the store, inside it, or cannot be written.
    """

    def __init__(self, path: Path, out: Path | None, methods: Sequence[str] | None = None, layers: Sequence[str] | None = None) -> None:
        from camtool.analysis.sources import sources
        from camtool.apis.outputs import unique_stems
        from camtool.io.atomic import check_writable
        from camtool.store import open as open_store
        from camtool.store.layout import check_outside

        self.store: Store = open_store(path)
        folder = Path(os.path.abspath(self.store.folder))
        self.out = Path(os.path.expanduser(out)) if out is not None else folder.with_name(f"{folder.name}-analysis")
        check_outside(self.out, folder)
        check_writable(self.out / "file")
        self.sources: list[Source] = sources(self.store, methods or (), layers or ())
        stems = unique_stems([f"{source.file_name}." for source in self.sources])  # the point: a layer's own is no suffix
        self.names = {source: stem.rstrip(".") for source, stem in zip(self.sources, stems, strict=True)}
        """By method and layer its part of files' names."""

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes; None if the run knew none."""
        names = self.store.run.get("class_names")
        return [str(name) for name in names] if names else None

    @property
    def output(self) -> str | int | list[str | int] | None:
        """Which output of a network of several tasks the run explained, as its `--output` or config said; None: the first."""
        found = dict(self.store.run.get("fingerprint", {}).get("options") or {}).get("output")
        return found if isinstance(found, (str, int, list)) else None

    def class_name(self, index: int | None) -> str:
        """Return a class's name, or its index in words; "all" for None."""
        if index is None:
            return "all"
        names = self.class_names
        return names[index] if names is not None and index < len(names) else f"class {index}"

    def write(self, files: Mapping[str, bytes]) -> list[Path]:
        """Write files, each whole or not at all, by their path in the folder of the results; return their paths."""
        from camtool.io.atomic import write_atomically

        for name, content in files.items():
            write_atomically(self.out / name, content)
        return [self.out / name for name in files]


def report(
    running: Session, analysis: Analysis, tables: Mapping[str, list[dict[str, Any]]], written: Sequence[Path], *, as_json: bool
) -> None:
    """Print the results as one JSON object, or as tables and the paths written; None of a number is NaN.

    Args:
        tables: by name dicts of one form, a row each.
    """
    from rich.table import Table

    from camtool.cli.console import results_console
    from camtool.cli.report import print_json
    from camtool.cli.rich_text import Unbroken

    if as_json:
        paths = [str(path) for path in written]
        print_json(running, {"store": str(analysis.store.folder), **tables, "warnings": running.warnings, "outputs": paths})
        return
    console = results_console(running)
    for entries in tables.values():
        table = Table(box=None, pad_edge=False)
        for heading in entries[0] if entries else ():
            table.add_column(heading.replace("_", " "), overflow="fold")
        for entry in entries:
            table.add_row(*(Unbroken(_shown(value)) for value in entry.values()))
        console.print(table)
    for path in written:
        console.print(f"Saved: {path}", soft_wrap=True)


def csv_of(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return dicts of one form as CSV, with their keys as header."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def finite(value: float) -> float | None:
    """Return a number, None for NaN, which JSON does not have."""
    return value if math.isfinite(value) else None


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(number)}" for key, number in value.items())
    return str(value)
