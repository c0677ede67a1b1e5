"""`camtool models`: list the names that CONFIG takes."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.cli.console import results_console
from camtool.errors import ConfigError

if TYPE_CHECKING:
    from camtool.models.catalog import CatalogEntry


def models(
    text: Annotated[str, typer.Option("--filter", metavar="TEXT", help="Only names with this text in them, in any case.")] = "",
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="NAME…",
            help="camtool (its own configs), mmpretrain (its zoo), timm, torchvision. Left out: the first two.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """List the models: the name to type as CONFIG, where it comes from, and whether its weights are on this machine."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.config.shipped import OWN, ZOO
        from camtool.models.catalog import catalog

        if not debug:
            from camtool.apis.model import quiet_libraries

            quiet_libraries()
        entries = catalog(text, source or (OWN, ZOO))
        if as_json:
            running.result(json.dumps({"models": [{**asdict(entry), "at_hand": entry.at_hand} for entry in entries]}))
            return
        if not entries:
            raise ConfigError(f"No model has '{text}' in its name; shorten --filter, or add --source timm torchvision.")
        _print(running, entries)
        at_hand = sum(entry.at_hand for entry in entries)
        running.remark(f"{len(entries)} model{'s' if len(entries) > 1 else ''}; the weights of {at_hand} are on this machine.")
        if not source:
            running.remark("Those of timm and torchvision are listed by --source timm torchvision.")


def _print(running: Session, entries: "list[CatalogEntry]") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "source", "weights"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        table.add_row(entry.name, entry.source, entry.weights)
    results_console(running).print(table)
