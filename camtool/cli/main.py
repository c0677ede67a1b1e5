"""The command `camtool`: every tool as a sub-command."""

import typer

from camtool.cli.benchmark import benchmark
from camtool.cli.browse import browse
from camtool.cli.cache import cache
from camtool.cli.command import Command
from camtool.cli.layers import layers
from camtool.cli.methods import methods
from camtool.cli.models import models
from camtool.cli.sweep import sweep
from camtool.cli.train import train
from camtool.cli.vis import vis

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Where did this network look? Class activation maps from a config and a checkpoint.",
)
app.command("vis", cls=Command)(vis)
app.command("browse", cls=Command)(browse)
app.command("layers", cls=Command)(layers)
app.command("methods", cls=Command)(methods)
app.command("models", cls=Command)(models)
app.command("sweep", cls=Command)(sweep)
app.command("train", cls=Command)(train)
app.command("benchmark", cls=Command)(benchmark)
app.command("cache", cls=Command)(cache)


def main() -> None:
    """Run `camtool`."""
    app()


def run_alone(command: object) -> None:
    """Run one command as a script of its own: `python tools/vis_cam.py IMG CONFIG`."""
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(cls=Command)(command)  # type: ignore[type-var]  # any function
    alone()
