"""Failures that are no defect of camtool: too little memory, a library that is missing, streams that are closed or full."""

import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NoReturn, TextIO

from camtool.errors import OutputError, is_out_of_memory

REFUSED, PIPE_CLOSED, INTERRUPTED = 2, 1, 130
"""Exit codes: the command or its surroundings are at fault; nobody reads the results any more; Control-C."""

_MOST_LETTERS = 600


def described(error: BaseException) -> str | None:
    """Return what to tell about an error of the surroundings (memory, libraries, files); None for any other error."""
    too_little = too_little_memory(error)
    if too_little is not None:
        return too_little
    for cause in _with_causes(error):
        text = on_one_line(str(cause))[:_MOST_LETTERS]
        if isinstance(cause, ImportError) and not (cause.name or "").startswith("camtool"):
            name = (cause.name or "").partition(".")[0] or _failing_import(cause)
            return f"Cannot import {f'the library {name!r}' if name else 'a library'}: {text}; try to install it anew."
    library = _failing_import(error)
    if library is not None:
        text = on_one_line(str(error))[:_MOST_LETTERS]
        return f"Cannot import the library {library!r}: {type(error).__name__}: {text}; try to install it anew."
    if isinstance(error, OSError):
        where = f" '{error.filename}'" if error.filename else ""
        return f"Cannot use the file{where}: {error.strerror or error}." if where else f"{type(error).__name__}: {on_one_line(str(error))}."
    return None


def too_little_memory(error: BaseException) -> str | None:
    """Return what to tell about an error that too little memory has caused, whatever it says itself; None for any other error."""
    for cause in _with_causes(error):
        if is_out_of_memory(cause):
            text = on_one_line(str(cause))[:_MOST_LETTERS] or type(cause).__name__
            return f"Not enough memory ({text}); try a smaller picture or --batch-size 1, or allow more memory."
    return None


def _failing_import(error: BaseException) -> str | None:
    """Return the library that raised an error while it was imported; None if no import, or one of camtool's own modules, did."""
    trace, library = error.__traceback__, None
    while trace is not None:
        # Python takes its own frames of an import out of the trace; those that run the body of a module stay.
        if trace.tb_frame.f_code.co_name == "<module>":
            library = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        trace = trace.tb_next
    return library if library not in ("", "__main__", "camtool") else None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error


def on_one_line(text: str) -> str:
    """Return a text with line breaks and other control characters written as escapes (`\\n`, `\\x1b`), so that it is one harmless line."""
    return "".join(letter if letter.isprintable() or "\ud800" <= letter <= "\udfff" else repr(letter)[1:-1] for letter in text.strip())


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON, even if it cannot be parsed."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(argument.partition("=")[0] == "--json" for argument in before)


def fail(message: str, *, as_json: bool, output: TextIO | None = None, code: int = REFUSED) -> NoReturn:
    """Print an error on standard error, with `as_json` as an object on `output` (standard output) too; raise SystemExit."""
    line = on_one_line(message)
    if sys.stderr is not None:
        tolerant = Remarks(sys.stderr)
        print(f"Error: {line}", file=tolerant)
        tolerant.flush()
    output = sys.stdout if output is None else output
    if as_json and output is not None:
        with contextlib.suppress(OSError, ValueError, OutputError, SystemExit):  # it may be the very stream that failed
            print(json.dumps({"error": line}), file=output, flush=True)
    raise SystemExit(code)


def open_missing_streams() -> None:
    """Put the null device in the place of closed standard streams.

    The next file that is opened would get the number of a closed one, and whatever a library prints would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


class _Wrapped(io.TextIOBase, TextIO):
    """A text stream in front of another one; its subclasses say what happens where that cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except (OSError, ValueError) as error:
            self.failed(error)
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Go on after an error of the stream, or raise another one."""
        _silence(self.stream)

    def close(self) -> None:
        """Leave the stream open: it is not this object's own."""

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    @property
    def buffer(self) -> BinaryIO:
        return self.stream.buffer

    @property
    def line_buffering(self) -> bool:
        return bool(self.stream.line_buffering)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors


class Remarks(_Wrapped):
    """Standard error; a remark that cannot be written is lost."""


class Results(_Wrapped):
    """Standard output. SystemExit(1) if its reader has gone; OutputError if it cannot be written for another reason."""

    def failed(self, error: Exception) -> None:
        super().failed(error)
        if isinstance(error, BrokenPipeError):
            raise SystemExit(PIPE_CLOSED) from error
        raise OutputError(unwritable(error)) from error


def unwritable(error: Exception) -> str:
    """Return the message for an error of standard output."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"Cannot write to standard output: {on_one_line(reason)}."


def is_broken_pipe(error: BaseException) -> bool:
    """Return whether an error says that the reader of a pipe has gone."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _silence(stream: TextIO) -> None:
    """Lead a stream to the null device: Python flushes it at its end, where what it holds would fail once more."""
    if stream not in (sys.__stdout__, sys.__stderr__):
        return
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
