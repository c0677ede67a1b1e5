"""The command `camtool`: every tool as a sub-command."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from camtool import __version__
from camtool.cli.analyze_clusters import clusters
from camtool.cli.analyze_consistency import consistency
from camtool.cli.analyze_importance import importance
from camtool.cli.analyze_overlap import overlap
from camtool.cli.analyze_ranges import ranges
from camtool.cli.analyze_select import select
from camtool.cli.bench_methods import bench_methods
from camtool.cli.benchmark import benchmark
from camtool.cli.browse import browse
from camtool.cli.cache import cache
from camtool.cli.check import check
from camtool.cli.command import Command, Group
from camtool.cli.compare import compare
from camtool.cli.evaluate import evaluate
from camtool.cli.export import export
from camtool.cli.layers import layers
from camtool.cli.methods import methods
from camtool.cli.models import models
from camtool.cli.run import run
from camtool.cli.show import show
from camtool.cli.sweep import sweep
from camtool.cli.train import train
from camtool.cli.vis import vis

COMMANDS: dict[str, Callable[..., Any]] = {
    "vis": vis,
    "browse": browse,
    "run": run,
    "layers": layers,
    "methods": methods,
    "models": models,
    "compare": compare,
    "eval": evaluate,
    "check": check,
    "export": export,
    "show": show,
    "sweep": sweep,
    "train": train,
    "benchmark": benchmark,
    "bench-methods": bench_methods,
    "cache": cache,
}

ANALYSES: dict[str, Callable[..., Any]] = {
    "ranges": ranges,
    "importance": importance,
    "overlap": overlap,
    "select": select,
    "consistency": consistency,
    "clusters": clusters,
}
"""Sub-commands of `camtool analyze`."""

app = typer.Typer(
    name="camtool",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Where did this network look? Class activation maps from a config and a checkpoint.",
)
for _name, _command in COMMANDS.items():
    app.command(_name, cls=Command)(_command)

analyze = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Statistics over the store of a data set's maps.")
for _name, _command in ANALYSES.items():
    analyze.command(_name, cls=Command)(_command)
app.add_typer(analyze, name="analyze")


def _show_version(value: bool) -> bool:
    if value:
        typer.echo(f"camtool {__version__}")
        raise typer.Exit
    return value


@app.callback()
def _of_all(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Where did this network look? Class activation maps from a config and a checkpoint."""


def main() -> None:
    """Run `camtool`."""
    app(prog_name="camtool")  # `python -m camtool` too


def run_alone(command: str) -> None:
    """Run one command as a script of its own: `python tools/vis_cam.py IMG CONFIG`."""
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(cls=Command)(COMMANDS[command])
    alone()
