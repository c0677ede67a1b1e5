"""Behaviour shared by all commands: options with several values, underscores, one-line errors, results apart from remarks."""

import contextlib
import sys
import traceback
import warnings
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import typer
from typer.core import TyperCommand, TyperGroup

from camtool.cli import failures
from camtool.cli.positionals import taken_by
from camtool.errors import CamtoolError, CamtoolWarning, as_camtool_error
from camtool.words import escaped

_ClickException: type[Exception] = typer.BadParameter.__mro__[2]  # typer >= 0.20 brings its own click and does not name this class

_NOT_EMPTY = {
    "DIR": "a path",
    "FILE": "a path",
    "STORE": "a path",
    "DATA": "a data set",
    "CONFIG": "a config",
    "CHECKPOINT": "a checkpoint",
    "CONDITION": "a condition",
}
"""What a value stands for, by what the metavar of its option or argument starts with; an empty one is a variable that was not set."""

if TYPE_CHECKING:
    _Base = TyperCommand
else:
    _Base = object


class _OneLineErrors(_Base):
    """A command or group whose usage errors are one line, and with --json one JSON object too."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, **extra: Any) -> Any:
        """Run, and end with an exit code: 0, 2 for an error, 1 for a defect or a closed pipe, 130 for Control-C."""
        failures.open_missing_streams()
        arguments = sys.argv[1:] if args is None else list(args)
        as_json = failures.wants_json(arguments)
        if sys.stdout is None:
            failures.fail("Standard output is closed; expected a place for the results, at least /dev/null.", as_json=False)
        extra["standalone_mode"] = False
        try:
            code = super().main(arguments, prog_name, *rest, **extra)
            sys.stdout.flush()
        except _ClickException as error:
            if not arguments or type(error).__name__ == "NoArgsIsHelpError":  # of a group inside this one
                print(error, file=sys.stderr)  # the help text
                sys.exit(failures.REFUSED)
            failures.fail(_usage_error(error, arguments), as_json=as_json)
        except typer.Abort:
            code = failures.INTERRUPTED
        except OSError as error:  # of the streams, when a help text is printed: a command's own are caught in `session`
            failures.Remarks(sys.stdout).failed(error)
            if failures.is_broken_pipe(error):
                sys.exit(failures.PIPE_CLOSED)
            failures.fail(failures.unwritable(error), as_json=as_json)
        if code == failures.INTERRUPTED:
            failures.fail("Interrupted.", as_json=as_json, code=code)
        sys.exit(code)


class Group(_OneLineErrors, TyperGroup):
    """The commands of `camtool`."""


class Command(_OneLineErrors, TyperCommand):
    """A command whose options may take several values, up to the next option or `--`, and may be spelt with underscores."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite `--method a b` to `--method a --method b`, then parse."""
        lists = {name for param in self.params if getattr(param, "multiple", False) for name in param.opts}
        short = {name for param in self.params for name in param.opts if not name.startswith("--")}
        expanded = expand_lists(args, lists, short)
        known = {name for param in self.params for name in param.opts if name.startswith("--")}
        before = expanded[: expanded.index("--") if "--" in expanded else len(expanded)]  # a copy: the parser empties its list
        for param in self.params:
            if param.param_type_name == "option" and not getattr(param, "is_flag", False):
                _check_values(ctx, param, list(_values_of(param.opts, before, param.nargs)), known)
        try:
            typed, *_ = self.make_parser(ctx).parse_args(args=list(expanded))  # as text: the empty path becomes the current folder
            for param in self.params:
                value = typed.get(str(param.name))
                if param.param_type_name == "argument" and isinstance(value, str):
                    _check_not_empty(ctx, f"Argument '{param.metavar or str(param.name).upper()}'", param, [value])
            return super().parse_args(ctx, expanded)
        except _ClickException as error:
            missing = getattr(error, "param", None)
            if type(error).__name__ == "MissingParameter" and missing is not None and missing.param_type_name == "argument":
                taken = {name: [value for values in _values_of([name], before) for value in values] for name in sorted(lists)}
                error.message = taken_by(taken, str(missing.name).upper()).strip()  # type: ignore[attr-defined]
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the usage line, with the order that options with several values need."""
        positionals = [param for param in self.params if param.param_type_name == "argument"]
        shown = " ".join(
            param.metavar or (str(param.name).upper() if param.required else f"[{str(param.name).upper()}]") for param in positionals
        )
        lists = " (positionals first, or -- ends a list of values)" if positionals else ""
        return [f"{shown} [OPTIONS]{lists}".strip()]


def expand_lists(args: list[str], lists: Container[str], short: Container[str] = ()) -> list[str]:
    """Return `args` with the values of each option in `lists` as repeated options, and with hyphens in option names.

    Values are taken as by argparse's nargs='+', up to the next option, which may be one of the `short` ones, such as "-o".
    """
    expanded: list[str] = []
    option, taken, position = "", 0, 0
    while position < len(args):
        token = args[position]
        position += 1
        if (token.startswith("--") or token in short) and option and not taken:
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
        elif token in short:
            option = ""
            expanded.append(token)
        elif option and taken:
            expanded += [option, token]
        else:
            expanded.append(token)
            taken += 1
    return expanded


def _usage_error(error: Any, arguments: Sequence[str]) -> str:
    """Return the message of an error of click, with the value that it is about and the command that shows what is expected."""
    message = str(error.format_message()).rstrip()
    context = getattr(error, "ctx", None)
    named = getattr(getattr(error, "param", None), "opts", None) or [getattr(error, "option_name", None)]
    count = getattr(getattr(error, "param", None), "nargs", 1)
    typed = [" ".join(values) for values in _values_of([name for name in named if name], arguments, max(count, 1)) if values]
    unknown = hasattr(error, "possibilities")  # an option that does not exist has no value either
    got = f" Got {typed[-1]!r}." if typed and typed[-1] not in message and not unknown else ""
    help_of = f" Try '{context.command_path} --help'." if context is not None else " Try --help."
    return f"{message}{'' if message.endswith(('.', '?', '!')) else '.'}{got}{help_of}"


def _values_of(names: Sequence[str], arguments: Sequence[str], count: int = 1) -> Iterator[list[str]]:
    """Yield what was typed behind an option each time, `count` values at most; it may be spelt with hyphens or underscores."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") in names:
            yield [*([value] if equals else []), *arguments[position + 1 :]][:count]


def _check_values(ctx: Any, param: Any, given: Sequence[Sequence[str]], known: Container[str]) -> None:
    """Raise BadParameter where an option lacks values or a path is empty; say which options were given twice.

    Args:
        given: what stands behind the option, each time that it is given.
        known: all options.
    """
    name = param.opts[0]
    for values in given:
        forgotten = next((place for place, value in enumerate(values) if value.partition("=")[0].replace("_", "-") in known), None)
        if param.nargs > 1 and (forgotten is not None or len(values) < param.nargs):
            typed = " ".join(map(repr, values[:forgotten])) or "none"
            raise typer.BadParameter(f"Option '{name}' requires {param.nargs} values, got {typed}.", ctx=ctx)
        if forgotten is not None and not param.multiple:
            raise typer.BadParameter(f"Option '{name}' requires a value, got the option '{values[forgotten]}'.", ctx=ctx)
        _check_not_empty(ctx, f"Option '{name}'", param, values[: param.nargs])
    if len(given) > 1 and not param.multiple:
        print(f"Warning: {name} was given {len(given)} times; the last one counts.", file=sys.stderr)


def _check_not_empty(ctx: Any, what: str, param: Any, values: Sequence[str]) -> None:
    kind = str(param.metavar or param.name).upper()
    expected = next((words for start, words in _NOT_EMPTY.items() if kind.startswith(start)), None)
    empty = next((value for value in values if not value.strip()), None)
    if expected is not None and empty is not None:
        raise typer.BadParameter(f"{what} requires {expected}, got {empty!r}.", ctx=ctx)


@dataclass
class Session:
    """One run of a command: its output stream and its warnings."""

    output: TextIO
    """Standard output as it was; `sys.stdout` is standard error meanwhile, for libraries that print."""
    warnings: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        """Print a remark on standard error; control characters as escapes."""
        print(escaped(text), file=sys.stderr)

    def result(self, text: str) -> None:
        """Print a result on standard output; control characters as escapes."""
        print(escaped(text), file=self.output)


@contextlib.contextmanager
def session(*, as_json: bool, debug: bool) -> Iterator[Session]:
    """Run a command's body: an error becomes one message and exit code 2, a warning one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may not be valid text, and terminals not Unicode
    running = Session(cast(TextIO, failures.Results(sys.stdout)))
    remarks = cast(TextIO, failures.Remarks(sys.stderr))
    with contextlib.redirect_stderr(remarks), contextlib.redirect_stdout(remarks), warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", CamtoolWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, CamtoolWarning):
                if str(message) in running.warnings:  # of every picture of a folder, or of each of its figures: said once
                    return
                running.warnings.append(str(message))
                running.remark(f"Warning: {message}")
            else:
                shown(message, category, *place)

        warnings.showwarning = show  # type: ignore[assignment]  # its last arguments are passed on as they come
        try:
            yield running
            running.output.flush()
        except (KeyboardInterrupt, typer.Exit):
            raise
        except Exception as error:  # noqa: BLE001 - the outermost level: tracebacks only with --debug
            if debug:
                traceback.print_exc()
            _fail(error, running, as_json=as_json, debug=debug)


def _fail(error: Exception, running: Session, *, as_json: bool, debug: bool) -> NoReturn:
    """Report an error: code 2 where the command or its surroundings are at fault, 1 for a defect."""
    own = isinstance(error, CamtoolError)
    known = failures.too_little_memory(error) or (error if own else failures.described(error) or as_camtool_error(error))
    if known is not None:
        failures.fail(str(known), as_json=as_json, output=running.output)
    text = " ".join(str(error).split())[:600]
    hint = "" if debug else " This is a bug in camtool or in a library that it uses; --debug shows the traceback."
    failures.fail(f"{type(error).__name__}: {text}.{hint}", as_json=as_json, output=running.output, code=1)
