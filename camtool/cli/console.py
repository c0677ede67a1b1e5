"""Consoles of rich for results: as wide as the terminal, or wide enough for whole layer paths in a file or pipe."""

from typing import TYPE_CHECKING

from camtool.cli.command import Session

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 200


def results_console(running: Session) -> "Console":
    """Return a console on the session's standard output that prints text as it is, brackets included; control characters as escapes."""
    from camtool.cli.rich_text import PlainConsole

    width = None if running.output.isatty() else WIDTH_WITHOUT_TERMINAL
    return PlainConsole(file=running.output, highlight=False, markup=False, emoji=False, width=width)
