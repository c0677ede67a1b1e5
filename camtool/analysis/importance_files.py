"""Files of importances, as `camtool analyze importance` writes them, read again."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from camtool.analysis.importance import Importance
from camtool.apis.outputs import as_file_name
from camtool.errors import DataError

_COLUMNS = ("class", "name", "samples", "reason")
_KINDS = ("All", "Target", "Diff")


@dataclass(frozen=True)
class ImportanceFile:
    """An importance and the file that it is from."""

    path: Path
    importance: Importance

    def check_method(self, name: str) -> None:
        """Raise DataError if the file's name is that of another method."""
        of_file = self.path.name.partition("_")[2]
        if not of_file.startswith(f"{as_file_name(name)}_"):
            raise DataError(f"'{self.path}' is of another method than '{name}'; expected a file Target_{as_file_name(name)}_….csv.")

    def check_layers(self, paths: Sequence[str]) -> None:
        """Raise DataError if the layers are several, or the file's name is that of another one."""
        if len(paths) > 1:
            raise DataError(f"'{self.path}' is the importance of one layer, got {', '.join(paths)}; expected one target layer.")
        for path in paths:
            if not self.path.stem.endswith(f"_{as_file_name(path)}"):
                raise DataError(f"'{self.path}' is of another layer than '{path}'; expected a file Target_…_{as_file_name(path)}.csv.")


def read_importance(path: str | Path) -> ImportanceFile:
    """Return the importance of `Target_….csv`, and of `All_….csv` beside it; of the three tables any can be named.

    Raises:
        DataError: if one of the two is missing, or no such table.
    """
    path = Path(path).expanduser()
    found = re.fullmatch(rf"(?:{'|'.join(_KINDS)})_(.+)\.csv", path.name)
    if found is None:
        raise DataError(f"'{path}' is no importance; expected a file Target_….csv of 'camtool analyze importance'.")
    target, samples, reasons = _table(path.with_name(f"Target_{found[1]}.csv"))
    every, counts, _ = _table(path.with_name(f"All_{found[1]}.csv"))
    if every.shape != (1, target.shape[1]):
        raise DataError(
            f"'{path}' is of {target.shape[1]} channels, the table All beside it of {every.shape[1]}; expected those of one run."
        )
    importance = Importance(every[0], target, np.array(samples), counts[0], left_out=0, wrong=0, reasons=reasons)
    return ImportanceFile(path, importance)


def _table(path: Path) -> tuple[Float[np.ndarray, "k c"], list[int], dict[int, str]]:
    """Return the numbers of a table by class, the number of samples of each, and why a class has none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        if not rows or tuple(rows[0][:4]) != _COLUMNS or len(rows) < 2 or len(rows[0]) < 5:
            raise ValueError("its columns are others")
        if any(len(row) != len(rows[0]) for row in rows):
            raise ValueError("a row is incomplete")
        values = np.array([[float(value) for value in row[4:]] for row in rows[1:]])
        return values, [int(row[2]) for row in rows[1:]], {k: row[3] for k, row in enumerate(rows[1:]) if row[3]}
    except (OSError, ValueError, csv.Error) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"The importance '{path}' cannot be read: {text}. Expected a file of 'camtool analyze importance'.") from error
