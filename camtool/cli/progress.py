"""How far the methods that take long have come: a bar on standard error, where that is a terminal, gone when they are done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def drawn_progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Return a progress callback for the engine, or None where nobody watches: in a file or a pipe nothing is written."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("", start=False, visible=False)
        current = ("", 0)

        def draw(what: str, done: int, total: int) -> None:
            nonlocal current
            if current[0] != what or done < current[1]:  # the next method, or the same one for the next class
                progress.reset(task, description=what, total=total, visible=True)
            current = (what, done)
            progress.update(task, completed=done)

        yield draw
