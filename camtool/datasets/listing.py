"""Lists of picture files: of a folder, whose sub-folders are classes, or of a text or CSV file."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from camtool.errors import DataError, closest, some, warn
from camtool.io.images import SUFFIXES
from camtool.io.names import without_data_files

LISTS = (".txt", ".csv")
"""Suffixes of list files."""


@dataclass(frozen=True)
class FileList:
    """Picture files of a data set, in its order.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("dog/1.jpg", "cat/2.png", "cat/notes.txt"):
        ...         path = Path(folder, name)
        ...         path.parent.mkdir(exist_ok=True)
        ...         path.touch()
        ...     files = list_files(Path(folder))
        >>> files.paths, files.labels
        (('cat/2.png', 'dog/1.jpg'), ('cat', 'dog'))
    """

    root: Path
    """Folder that the paths are relative to."""
    paths: tuple[str, ...]
    labels: tuple[str | None, ...]
    """As written: a class's name or index; None where it is not known."""
    from_folders: bool
    """Whether the labels are the names of folders."""

    def __len__(self) -> int:
        return len(self.paths)

    def sizes(self) -> Iterator[int]:
        """Yield the size of each file in bytes; -1 where there is none."""
        for path in self.paths:
            try:
                yield os.stat(self.root / path).st_size
            except OSError:
                yield -1


def list_files(data: Path, suffixes: Sequence[str] = SUFFIXES) -> FileList:
    """Return the pictures of a folder or of a list file.

    A folder is searched to its bottom; the names of its sub-folders are the labels. A line of a .txt file is a path, or a path, a blank
    and a label; a .csv file has the columns path and, if labels are known, label. Their paths are relative to the file.

    Args:
        suffixes: of the files of a folder that are samples.

    Raises:
        DataError: if there is no such folder or file, it has no pictures, or none of the listed files exists.
    """
    if os.path.isdir(data):
        return _of_folder(data, suffixes)
    if not os.path.isfile(data):
        raise DataError(f"No data set '{data}'{_near(data)}; expected a folder, a list (.txt, .csv), config:val or config:train.")
    if data.suffix.lower() not in LISTS:
        raise DataError(f"'{data}' is no data set; expected a folder, a list (.txt, .csv), config:val or config:train.")
    try:
        text = data.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list '{data}' cannot be read: {error}; expected text in UTF-8.") from error
    rows = (
        _of_csv(data, text)
        if data.suffix.lower() == ".csv"
        else [_of_line(data.parent, line) for line in text.splitlines() if line.strip()]
    )
    if not rows:
        raise DataError(f"The list '{data}' names no pictures; expected one in each line.")
    found = FileList(data.parent, tuple(path for path, _ in rows), tuple(label for _, label in rows), from_folders=False)
    missing = [path for path, size in zip(found.paths, found.sizes(), strict=True) if size < 0]
    if len(missing) == len(found):
        raise DataError(f"None of the files of '{data}' exists, such as '{missing[0]}'; their paths are relative to '{data.parent}'.")
    if missing:
        warn(f"{len(missing)} of {len(found)} files of '{data}' do not exist: {some([repr(path) for path in missing])}.")
    return found


def _of_folder(folder: Path, suffixes: Sequence[str]) -> FileList:
    paths: list[str] = []
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(place, folder)
        names = (name for name in files if not name.startswith(".") and name.lower().endswith(tuple(suffixes)))
        paths += [name if inside == os.curdir else os.path.join(inside, name).replace(os.sep, "/") for name in names]
    if not paths:
        raise DataError(f"No sample in the folder '{folder}'; expected files such as {', '.join(suffixes)}.")
    paths = sorted(without_data_files(paths))
    labels = tuple(path.partition("/")[0] if "/" in path else None for path in paths)
    return FileList(folder, tuple(paths), labels, from_folders=any(labels))


def _refuse(error: OSError) -> None:
    raise DataError(f"The folder '{error.filename}' cannot be read: {error.strerror}.")


def _of_csv(file: Path, text: str) -> list[tuple[str, str | None]]:
    try:
        table = csv.DictReader(text.splitlines(), strict=True)
        columns = [name.strip() for name in table.fieldnames or []]
        if "path" not in columns:
            raise DataError(f"The list '{file}' has no column 'path'{closest('path', columns)}; expected a first line 'path,label'.")
        table.fieldnames = columns
        rows = []
        for row in table:
            path = (row["path"] or "").strip()
            if not path:
                raise DataError(f"Line {table.line_num} of '{file}' has no path; expected 'path,label'.")
            rows.append((path, (row.get("label") or "").strip() or None))
    except csv.Error as error:
        raise DataError(f"The list '{file}' is no CSV file: {error}; expected a first line 'path,label'.") from error
    return rows


def _of_line(folder: Path, line: str) -> tuple[str, str | None]:
    text = line.strip()
    labelled = re.fullmatch(r"(.+?)\s+(-?\d+)", text)
    if labelled is None or os.path.exists(folder / text):  # a name may end in a number
        return text, None
    return labelled[1], labelled[2]


def _near(path: Path) -> str:
    try:
        return closest(path.name, os.listdir(path.parent))
    except OSError:
        return ""
