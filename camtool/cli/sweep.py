"""`camtool sweep`: check that every backbone of the zoo gives a map with default options."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.cli.console import results_console
from camtool.cli.markers import around_markers, markers, write_between
from camtool.errors import CamtoolError, OutputError, times
from camtool.io.atomic import check_writable, write_atomically

if TYPE_CHECKING:
    from camtool.benchmark.backbones import Example
    from camtool.benchmark.coverage import BackboneResult

WIDE = 140  # the table shows configs on consoles with at least so many columns

MARKERS = markers("sweep")


def sweep(
    text: Annotated[str, typer.Option("--filter", help="Only backbones with this text in class or config.")] = "",
    full: Annotated[bool, typer.Option("--full", help="Networks as wide as published: minutes, and 5 GB of memory.")] = False,
    as_json: Annotated[bool, options.JSON] = False,
    json_file: Annotated[Path | None, options.JSON_FILE] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option(
            "--markdown", help=f"Write the table between the lines '{MARKERS[0]}' and '{MARKERS[1]}' of this file.", metavar="FILE"
        ),
    ] = None,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Explain every backbone class of the zoo, with random weights and default options, at 224x224 and 256x320.

    Exit code 1 if one that accepts the input gives no map.
    """
    with session(as_json=as_json, debug=debug) as running:
        if not debug:
            from camtool.apis.model import quiet_libraries

            quiet_libraries()
        examples = _chosen(text)
        if json_file is not None:
            check_writable(json_file)
        around = None if markdown_file is None else _around_markers(markdown_file, text)
        measured = _measure(examples, narrow=not full)
        report = {"backbones": [dataclasses.asdict(result) for result in measured]}
        if as_json:
            running.result(json.dumps(report))
        else:
            _print(running, measured)
        if json_file is not None:
            write_atomically(json_file, f"{json.dumps(report, indent=1)}\n".encode())
        if markdown_file is not None and around is not None:
            from camtool.benchmark.coverage import markdown

            write_between(markdown_file, around, markdown(measured))
        failed = [result for result in measured if result.status == "failed"]
        if failed:
            running.remark(f"Error: no map of {', '.join(dict.fromkeys(result.backbone for result in failed))}.")
            raise typer.Exit(1)


def _chosen(text: str) -> "dict[str, Example]":
    from camtool.benchmark.backbones import BACKBONES

    folded = text.casefold()
    chosen = {name: example for name, example in BACKBONES.items() if folded in name.casefold() or folded in example.config.casefold()}
    if not chosen:
        raise CamtoolError(f"No backbone of the zoo has '{text}' in its class or config; expected one of: {', '.join(BACKBONES)}.")
    return chosen


def _around_markers(path: Path, text: str) -> tuple[str, str]:
    if text:
        raise OutputError("--markdown writes the table of all backbones; leave --filter out.")
    return around_markers(path, MARKERS)


def _measure(examples: "dict[str, Example]", *, narrow: bool) -> "list[BackboneResult]":
    from rich.console import Console
    from rich.progress import Progress

    from camtool.benchmark.coverage import sweep as sweep_backbone

    measured = []
    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("", total=sum(len(example.sizes) for example in examples.values()))
        for name, example in examples.items():
            progress.update(task, description=name)
            for result in sweep_backbone(name, example, narrow=narrow):
                measured.append(result)
                progress.advance(task)
    return measured


def _print(running: Session, measured: "list[BackboneResult]") -> None:
    from rich.table import Table

    console = results_console(running)
    table = Table(box=None, pad_edge=False)
    table.add_column("backbone", overflow="fold", max_width=None if console.width >= WIDE else 20)
    if console.width >= WIDE:
        table.add_column("config", overflow="fold")
    for heading, justify in (
        ("input", "left"),
        ("axes", "left"),
        ("extra", "right"),
        ("gradient", "right"),
        ("perturbed by", "left"),
        ("s", "right"),
        ("status", "left"),
    ):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # a literal each
    table.add_column("default layer, or why none", overflow="fold")
    for result in measured:
        reading = (
            (result.axes, str(result.extra_tokens), f"{100 * result.gradient_share:.0f} %", result.replay.partition(":")[0])
            if result.layer
            else ("-",) * 4
        )
        name = (result.backbone, result.config) if console.width >= WIDE else (result.backbone,)
        message = ": ".join(filter(None, (result.layer, result.words)))
        style = {"failed": "bold red", "refused": "dim"}.get(result.status, "")
        table.add_row(*name, times(result.size), *reading, f"{result.seconds:.1f}", result.status, message, style=style)
    console.print(table)
