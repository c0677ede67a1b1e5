"""Start of the command line: `camtool`, `python -m camtool` and the scripts in `tools/`.

Imports nothing but the standard library at its top, so that a library that is missing or does not load is told in one line.
"""

import sys
from typing import Any

from camtool.cli import failures


def main() -> None:
    """Run `camtool` with the arguments of this process."""
    _imported("main")()


def run_alone(command: str) -> None:
    """Run one command as a script of its own: `python tools/vis_cam.py IMG CONFIG`."""
    _imported("run_alone")(command)


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
