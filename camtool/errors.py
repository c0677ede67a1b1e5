"""Errors and warnings for users: each message has what was expected, what was found, and what to do."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

UNREADABLE, ZERO_GRADIENT, NOT_FINITE, NO_LABEL = "unreadable", "zero gradient", "NaN", "no label"
OUTSIDE_CROP = "mask outside of the crop"
"""Statuses of errors that concern one sample, not the network or the settings."""


class CamtoolError(Exception):
    """Base class of all errors caused by the user's input.

    Args:
        status: what is the matter with the sample, in the words of a store's rows; None: the class's own.
        of_some: of a batch: whether it is the error of some samples, and others have none.
    """

    status = "not explained"

    def __init__(self, *arguments: object, status: str | None = None, of_some: bool = False) -> None:
        super().__init__(*arguments)
        self.of_some = of_some
        if status is not None:
            self.status = status

    methods: tuple[str, ...] = ()
    """Names of the methods that caused the error, where known; the other methods of the call can run without them."""


class CamtoolWarning(UserWarning):
    """A remark about a correct result."""

    sample: int | None = None
    """Which sample of a batch it is about; None: all of them."""


class ConfigError(CamtoolError):
    """A config that is missing, unreadable, or does not describe a classifier."""


class CheckpointError(CamtoolError):
    """Weights that are missing, unreadable, unsafe, or made for another network."""


class ImageError(CamtoolError):
    """A picture that is missing, unreadable or of an unusable size."""

    status = UNREADABLE


class DataError(CamtoolError):
    """A data set that is missing, cannot be fetched, read or made, or lacks the requested sample or class."""

    status = UNREADABLE


class LayerError(CamtoolError):
    """A target layer that does not exist, is not called, or carries no gradient."""


class LayoutError(CamtoolError):
    """An activation that cannot be read as maps over the input's positions."""


class TargetError(CamtoolError):
    """A class or objective that the network's output does not offer."""


class MethodError(CamtoolError):
    """A method that does not exist, or is not defined for this network."""


class OutputError(CamtoolError):
    """A result that cannot be written or shown at the requested place."""


_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn(message: str, *, sample: int | None = None) -> None:
    """Issue a CamtoolWarning at the line outside of camtool that called it.

    Args:
        sample: which sample of a batch it is about.
    """
    warning = CamtoolWarning(message)
    warning.sample = sample
    if sys.version_info >= (3, 12):
        warnings.warn(warning, skip_file_prefixes=(_PACKAGE,))
    else:
        frame, level = sys._getframe(), 1
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            frame, level = frame.f_back, level + 1
        warnings.warn(warning, stacklevel=level)


@contextmanager
def recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect the CamtoolWarnings of a `with` block in a list, without showing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CamtoolWarning)
        yield caught


def emit_again(warning: warnings.WarningMessage, message: str = "") -> None:
    """Issue a recorded warning again, at the line where it was raised; a non-empty `message` replaces the text of one of camtool's."""
    # Another library's warning may take more than a message.
    again = CamtoolWarning(message) if message and issubclass(warning.category, CamtoolWarning) else warning.message
    warnings.warn_explicit(again, warning.category, warning.filename, warning.lineno)


def as_camtool_error(error: Exception) -> CamtoolError | None:
    """Return an error caused by the user's input as CamtoolError: it is one, or the network itself raised it; else None."""
    if isinstance(error, CamtoolError):
        return error
    notes = " ".join(getattr(error, "__notes__", ()))  # added where the network was called
    if not notes:
        return None
    described = CamtoolError(f"{type(error).__name__}: {' '.join(str(error).split())[:600].rstrip('.')}. {notes}")
    described.__cause__ = error
    return described


_NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment",  # a library that is loaded
    "bad_alloc",
    "can't start new thread",
    "insufficient memory",  # OpenCV
    "unable to allocate",  # numpy
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, torch or another library (none of camtool's own) says that there is too little memory."""
    if isinstance(error, MemoryError):
        return True
    # A path may have any words.
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return not isinstance(error, CamtoolError) and any(words in text.casefold() for words in _NO_MEMORY)


@contextmanager
def attribute_errors_to(methods: Iterable[str], kind: type[CamtoolError] = MethodError) -> Iterator[None]:
    """Set `methods` of an error of this kind raised inside the block, unless it is already set."""
    try:
        yield
    except kind as error:
        error.methods = error.methods or tuple(methods)
        raise


def closest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """Return "; closest: 'a', 'b'" for the choices most similar to `name`, or "" if none is similar."""
    by_folded = {choice.casefold(): choice for choice in choices}
    matches = get_close_matches(name.casefold(), by_folded, n=count, cutoff=0.5)
    return f"; closest: {', '.join(repr(by_folded[match]) for match in matches)}" if matches else ""


def times(size: Sequence[int]) -> str:
    """Return a size in the form "7x7"."""
    return "x".join(map(str, size))


def some(names: Sequence[str], most: int = 4) -> str:
    """Return the first names, with the number of all if there are more: "a, b, … (7 in all)"."""
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
