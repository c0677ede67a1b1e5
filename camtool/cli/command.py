"""Behaviour shared by all commands: options with several values, underscores, one-line errors, results apart from remarks."""

import contextlib
import json
import sys
import traceback
import warnings
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

import typer
from typer.core import TyperCommand

from camtool.errors import CamtoolError, CamtoolWarning, as_camtool_error


class Command(TyperCommand):
    """A command whose options may take several values, up to the next option or `--`, and may be spelt with underscores."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite `--method a b` to `--method a --method b`, then parse."""
        lists = {name for param in self.params if getattr(param, "multiple", False) for name in param.opts}
        return super().parse_args(ctx, expand_lists(args, lists))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the usage line, with the order that options with several values need."""
        positionals = [param for param in self.params if param.param_type_name == "argument"]
        shown = " ".join(
            param.metavar or (str(param.name).upper() if param.required else f"[{str(param.name).upper()}]") for param in positionals
        )
        lists = " (positionals first, or -- ends a list of values)" if positionals else ""
        return [f"{shown} [OPTIONS]{lists}".strip()]


def expand_lists(args: list[str], lists: Container[str]) -> list[str]:
    """Return `args` with the values of each option in `lists` as repeated options, and with hyphens in option names.

    Values are taken as by argparse's nargs='+'.
    """
    expanded: list[str] = []
    option, taken, position = "", 0, 0
    while position < len(args):
        token = args[position]
        position += 1
        if token.startswith("--") and option and not taken:
            raise typer.BadParameter(f"Option '{option}' requires at least one value.")
        if token == "--":
            if not option:
                return [*expanded, "--", *args[position:]]
            option = ""
        elif token.startswith("--"):
            name, equals, value = token.partition("=")
            name = name.replace("_", "-")
            option, taken = (name, 0) if name in lists else ("", 0)
            if equals:
                expanded.append(f"{name}={value}")
                taken = 1
            else:
                expanded.append(name)
        elif option and taken:
            expanded += [option, token]
        else:
            expanded.append(token)
            taken += 1
    return expanded


@dataclass
class Session:
    """One run of a command: its output stream and its warnings."""

    output: TextIO
    """Standard output as it was; `sys.stdout` is standard error meanwhile, for libraries that print."""
    warnings: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        """Print a remark on standard error."""
        print(text, file=sys.stderr)

    def result(self, text: str) -> None:
        """Print a result on standard output."""
        print(text, file=self.output)


@contextlib.contextmanager
def session(*, as_json: bool, debug: bool) -> Iterator[Session]:
    """Run a command's body: an error becomes one message and exit code 2, a warning one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may not be valid text, and terminals not Unicode
    running = Session(sys.stdout)
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", CamtoolWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, CamtoolWarning):
                running.warnings.append(str(message))
                running.remark(f"Warning: {message}")
            else:
                shown(message, category, *place)

        warnings.showwarning = show  # type: ignore[assignment]  # its last arguments are passed on as they come
        try:
            yield running
        except CamtoolError as error:
            if debug:
                traceback.print_exc()
            _fail(running, str(error), as_json, code=2)
        except (KeyboardInterrupt, BrokenPipeError, typer.Exit):
            raise
        except Exception as error:  # noqa: BLE001 - the outermost level: tracebacks only with --debug
            if debug:
                traceback.print_exc()
            text = " ".join(str(error).split())[:600]
            described = as_camtool_error(error)
            if described is not None:
                _fail(running, str(described), as_json, code=2)
            hint = "" if debug else " This is a bug in camtool or in a library that it uses; --debug shows the traceback."
            _fail(running, f"{type(error).__name__}: {text}.{hint}", as_json, code=1)


def _fail(running: Session, message: str, as_json: bool, code: int) -> None:
    running.remark(f"Error: {message}")
    if as_json:
        running.result(json.dumps({"error": message}))
    raise typer.Exit(code)
