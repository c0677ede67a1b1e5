"""A part of a text file that a command writes, between two marker lines."""

from pathlib import Path

from camtool.errors import OutputError
from camtool.io.atomic import check_writable, write_atomically


def markers(name: str) -> tuple[str, str]:
    """Return the begin and end lines around a command's part."""
    return f"<!-- camtool {name}: begin -->", f"<!-- camtool {name}: end -->"


def around_markers(path: Path, pair: tuple[str, str]) -> tuple[str, str]:
    """Return the text before and after the part between the marker lines, markers included.

    Raises:
        OutputError: if the file cannot be read or written, or does not have both lines once, in order.
    """
    check_writable(path)
    try:
        content = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"Cannot read '{path}': {error}. Expected a text file with the table's two marker lines.") from error
    begin, end = pair
    if content.count(begin) != 1 or content.count(end) != 1 or content.index(begin) > content.index(end):
        raise OutputError(f"'{path}' must have the line '{begin}' once, and below it the line '{end}' once; the table goes between them.")
    return content[: content.index(begin) + len(begin)], content[content.index(end) :]


def write_between(path: Path, around: tuple[str, str], part: str) -> None:
    """Write the file, whole or not at all, with `part` between the two texts that `around_markers` returned."""
    write_atomically(path, f"\n\n{part}\n\n".join(around).encode())
