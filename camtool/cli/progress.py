"""Progress bar of long computations on standard error, if that is a terminal; removed at the end."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from camtool.cli.command import Session


def announcing(running: Session) -> Callable[[str, int, float], None]:
    """Return an `announce` for CAM that says once of each method what its maps cost."""
    told: set[str] = set()

    def announce(method: str, passes: int, seconds: float) -> None:
        if method not in told:
            told.add(method)
            took = f"at most about {seconds:.0f} s" if seconds >= 1 else "less than a second"
            running.remark(f"Warning: Method '{method}' takes about {passes} forward passes for each map, {took} for this picture's.")

    return announce


@contextmanager
def drawn_progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a progress callback for CAM, or None if standard error is a file or a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("", start=False, visible=False)
        current = ("", 0)

        def draw(description: str, done: int, total: int) -> None:
            nonlocal current
            if current[0] != description or done < current[1]:  # the next method, or the same one for the next class
                progress.reset(task, description=description, total=total, visible=True)
            current = (description, done)
            progress.update(task, completed=done)

        yield draw
