"""Tables of text, .csv, .tsv and .txt: rows are time, columns are channels."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from camtool.errors import ImageError
from camtool.io.signals.record import Record, check_bytes, of_array
from camtool.io.signals.signal import SignalReading
from camtool.io.signals.time_columns import TimeColumn, time_column

_DELIMITERS = {";": "';'", "\t": "tabs", ",": "','", " ": "spaces"}
"""By precedence: with semicolons or tabs, a comma may be a decimal point."""
_COMMENT = "#"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")
_MISSING = {"", "nan", "na", "n/a", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity", "-"}
_LINES_ASKED = 20
_BYTES_A_CHARACTER = 10  # while a table is parsed: the text, its lines, the numbers


@dataclass
class _Table:
    """A table that is read line by line."""

    name: str
    delimiter: str
    names: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    decimal_comma: bool = False

    def fields(self, line: str) -> list[str]:
        """Return the fields of a line, without the spaces and quotes around them."""
        if self.delimiter == " ":
            return line.split()
        (found,) = csv.reader([line], delimiter=self.delimiter, skipinitialspace=True)
        return [text.strip().strip("'") for text in found]

    def number(self, text: str) -> float | None:
        """Return the number that a field has, NaN for a missing one, None for text."""
        if self.decimal_comma and "." not in text:
            text = text.replace(",", ".", 1)
        if _NUMBER.match(text):
            return float(text)
        return float("nan") if text.lower() in _MISSING else None


def open_table(path: Path, reading: SignalReading) -> Record:
    """Return the record of a table: a channel for each column but one of time, which gives the sampling rate.

    The first line may name the columns, the second one their units; lines that begin with # in front of it are comments. The fields are
    separated by ; tabs , or spaces, whichever of these the first line of numbers has.

    Raises:
        ImageError: if a field is text or a line has more or fewer fields than the others (with its number); or the times are not even.
    """
    name = str(path)
    check_bytes(name, path.stat().st_size, reading.max_bytes // _BYTES_A_CHARACTER, what="is a table of")
    lines = _text(path).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    first = next((k for k, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(_COMMENT)), None)
    if first is None:
        raise ImageError(f"Signal '{name}' has no line of numbers.")
    table, first = _begun(name, lines, first)
    values = _values(table, lines, first)
    column = time_column(table.names, values, name, first + 1, table.units) or TimeColumn(None, None, 0.0)
    kept = [k for k in range(values.shape[1]) if k != column.number]
    if not kept:
        raise ImageError(f"Signal '{name}' has a column of time ('{table.names[0]}') and no channel.")
    return of_array(
        values[:, kept].T,
        column.rate,
        names=[table.names[k] or str(k) for k in kept] if table.names else (),
        units=[table.units[k] for k in kept] if table.units else (),
        origin=column.origin,
    )


def _text(path: Path) -> str:
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding != "utf-16" and b"\0" in raw[:100_000]:
        raise ImageError(f"'{path}' is no text; expected a table of numbers.")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # letters of a header; numbers are the same
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _begun(name: str, lines: Sequence[str], first: int) -> tuple[_Table, int]:
    """Return the table with names and units of its columns, and the index of its first line of numbers."""
    table = _Table(name, _delimiter(lines, first))
    table.decimal_comma = table.delimiter != ","
    header = table.fields(lines[first])
    numbers = [table.number(text) for text in header]
    if None not in numbers and not all(number is not None and np.isnan(number) for number in numbers):
        _name_by_comment(table, lines, first, len(header))
        return table, first
    _check_header(table, header, numbers, first)
    table.names = header
    first += 1
    if first < len(lines) and lines[first].strip():
        units = table.fields(lines[first])
        # Not numbers with another delimiter between them.
        if len(units) == len(header) and any(units) and all(not text or (table.number(text) is None and _is_unit(text)) for text in units):
            table.units, first = units, first + 1
    if first == len(lines):
        raise ImageError(f"Signal '{name}' has a line of names and no line of numbers.")
    return table, first


def _is_unit(text: str) -> bool:
    return any(letter.isalpha() or letter in "%°" for letter in text)


def _delimiter(lines: Sequence[str], first: int) -> str:
    # A header may have any text, so that the first line is asked last.
    for some in (lines[first + 1 : first + 1 + _LINES_ASKED], lines[first : first + 1]):
        for delimiter in _DELIMITERS:
            if any(delimiter in line.strip() for line in some):
                return delimiter
    return ","


def _check_header(table: _Table, header: Sequence[str], numbers: Sequence[float | None], first: int) -> None:
    """Raise ImageError for a first line that is a broken line of numbers rather than one of names."""
    texts = [text for text, number in zip(header, numbers, strict=True) if number is None]
    unnamed = [text for text in texts if not any(map(str.isalpha, text))]  # dates, numbers with another delimiter between them
    # Beside a column of time, channels may have numbers for names.
    broken = texts if numbers[0] is not None and header[0] else unnamed
    if broken:
        raise ImageError(_not_a_number(table, first, header, broken[0]))


def _name_by_comment(table: _Table, lines: Sequence[str], first: int, count: int) -> None:
    """Take names from a comment right above the numbers, as numpy.savetxt writes them."""
    if first and lines[first - 1].lstrip().startswith(_COMMENT):
        names = table.fields(lines[first - 1].lstrip().lstrip(_COMMENT).strip())
        if len(names) == count and all(table.number(text) is None for text in names):
            table.names = names


def _values(table: _Table, lines: Sequence[str], first: int) -> np.ndarray:
    """Return the numbers (t, columns); NaN where a field is missing."""
    rows = lines[first:]
    columns = len(table.names) or len(table.fields(rows[0]))
    quick = _quick(table, rows, columns)
    if quick is not None:
        return quick
    values = np.empty((len(rows), columns))
    for number, line in enumerate(rows):
        if not line.strip():
            values[number] = np.nan
            continue
        fields = table.fields(line)
        if len(fields) != columns:
            has = "one field" if len(fields) == 1 else f"{len(fields)} fields"
            raise ImageError(
                f"Line {first + number + 1} of '{table.name}' has {has}, separated by {_DELIMITERS[table.delimiter]}; expected {columns}, "
                f"as {'the line of names has' if table.names else 'the lines before'}."
            )
        for column, text in enumerate(fields):
            found = table.number(text)
            if found is None:
                raise ImageError(_not_a_number(table, first + number, fields, text))
            values[number, column] = found
    return values


def _quick(table: _Table, rows: Sequence[str], columns: int) -> np.ndarray | None:
    """Return the numbers as numpy reads them, a hundred times faster; None where the table is not as plain as that."""
    if not all(row and not row.isspace() for row in rows):
        return None
    try:
        values = np.loadtxt(rows, delimiter=None if table.delimiter == " " else table.delimiter, ndmin=2, comments=None)
    except ValueError:
        return None
    return values if values.shape == (len(rows), columns) else None


def _not_a_number(table: _Table, line: int, fields: Sequence[str], text: str) -> str:
    shown = text if len(text) <= 40 else f"{text[:39]}…"
    separated = f"separated by {_DELIMITERS[table.delimiter]}" if len(fields) > 1 else "separated by , ; tabs or spaces"
    return f"Line {line + 1} of '{table.name}' has '{shown}'; expected numbers {separated}."
