"""The progress of a run over a data set, as one line."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camtool.runs.shards import OnProgress, RunProgress


@contextmanager
def one_line() -> "Iterator[OnProgress | None]":
    """Yield what draws the progress as one line: on a terminal again and again, in a file every minute."""
    shown = [time.monotonic()]
    terminal = sys.stderr.isatty()

    def draw(progress: "RunProgress") -> None:
        now = time.monotonic()
        if now - shown[0] < (0.2 if terminal else 60.0) and progress.done < progress.total:
            return
        shown[0] = now
        line = progress_line(progress)
        print(f"\r{line:<78}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield draw
    finally:
        if terminal:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)


def progress_line(progress: "RunProgress") -> str:
    """Return how far a run is: done, rate, failures, time left.

    Example:
        >>> from camtool.runs.shards import RunProgress
        >>> progress_line(RunProgress(done=150, total=450, failures=2, made=100, seconds=10.0))
        '150 of 450 samples · 10.0 a second · 2 failures · 0:30 left'
    """
    rate = progress.made / progress.seconds if progress.seconds else 0.0
    left = (progress.total - progress.done) / rate if rate else 0.0
    minutes, seconds = divmod(round(left), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    failures = f"{progress.failures} failure{'' if progress.failures == 1 else 's'}"
    return f"{progress.done} of {progress.total} samples · {rate:.1f} a second · {failures} · {clock} left"
