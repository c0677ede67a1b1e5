"""`camtool cache`: show and clear what camtool keeps on disk: measured placements."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.cli.console import results_console
from camtool.errors import CamtoolError


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all that is kept; it is measured anew when it is needed.")] = False,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Show the measured placements that are kept: weights by digest, input size, layer, where its cells lie."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.instrumentation import placement_cache

        folder = placement_cache.cache_folder()
        removed = placement_cache.clear() if clear else 0
        entries, unreadable = _entries(placement_cache.kept_files())
        if as_json:
            report = {"folder": str(folder), "removed": removed, "placements": entries, "unreadable": unreadable}
            running.result(json.dumps(report, ensure_ascii=False))
            return
        if clear:
            running.result(f"Removed {removed} file{'' if removed == 1 else 's'} of {folder}.")
            return
        if entries:
            _print(running, entries)
        for message in unreadable:
            running.remark(message)
        running.remark(f"{len(entries)} placement{'' if len(entries) == 1 else 's'} in {folder}; --clear removes them.")


def _entries(files: list[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what the files hold, and a message for each that cannot be read."""
    from camtool.instrumentation.placement_cache import read_file

    entries, unreadable = [], []
    for path in files:
        try:
            key, sizes = read_file(path)
        except CamtoolError as error:
            unreadable.append(str(error))
            continue
        entries += [
            {"weights": key, "size": list(size), "layer": layer, **{name: getattr(place, name) for name in ("scale", "offset", "source")}}
            for size, by_layer in sizes.items()
            for layer, place in by_layer.items()
        ]
    return entries, unreadable


def _print(running: Session, entries: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("weights", "input", "layer", "scale", "offset", "source"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        numbers = (", ".join(f"{value:.4g}" for value in entry[name]) for name in ("scale", "offset"))
        table.add_row(entry["weights"][:12], "x".join(map(str, entry["size"])), entry["layer"], *numbers, entry["source"])
    results_console(running).print(table)
