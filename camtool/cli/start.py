"""Start of the command line: `camtool`, `python -m camtool` and the scripts in `tools/`.

Imports nothing but the standard library at its top, so that a library that is missing or does not load is told in one line.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from camtool.cli import failures


def main() -> None:
    """Run `camtool` with the arguments of this process."""
    _run(_imported("main"))


def run_alone(command: str) -> None:
    """Run one command as a script of its own: `python tools/vis_cam.py IMG CONFIG`."""
    _run(_imported("run_alone"), command)


def _run(command: Callable[..., None], *arguments: str) -> None:
    try:
        command(*arguments)
    except SystemExit as end:
        distributed = sys.modules.get("camtool.train.distributed")
        if distributed is None or not distributed.left.is_set():
            raise
        _leave(end.code)


def _leave(code: Any) -> NoReturn:
    """End this process without the interpreter's own ending.

    Threads of a process group may outlive it. One that wants the interpreter's lock while that is ending is stopped within C++, which
    aborts the process ("terminate called without an active exception") after all is done, and torchrun calls the training failed.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr, flush=True)
        code = 1
    os._exit(code or 0)


def _imported(name: str) -> Any:
    failures.open_missing_streams()
    try:
        from camtool.cli import main as commands
    except Exception as error:  # a library may raise anything while it is imported
        known = failures.described(error)
        if known is None:
            raise
        failures.fail(known, as_json=failures.wants_json(sys.argv[1:]))
    return getattr(commands, name)
