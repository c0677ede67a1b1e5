"""Scores of maps on disk: one Parquet file for each metric and shard of the store, whole or absent."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camtool.errors import DataError
from camtool.io.atomic import write_atomically
from camtool.store.schema import as_text

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ScoreRow:
    """One score of a map, or why there is none.

    Example:
        >>> ScoreRow(0, "cat.jpg", method="gradcam", layer="[0]", metric="iou", score=0.5, protocol='{"threshold": "otsu"}').reason
        ''
    """

    id: int
    """Position of the sample in the data set."""
    path: str
    method: str
    """Method of the map; of a baseline its name."""
    metric: str
    protocol: str
    """Settings of the metric, and the rule by which classes were chosen, as JSON."""
    label: int | None = None
    target: int | None = None
    layer: str | None = None
    """None of a baseline."""
    baseline: bool = False
    score: float | None = None
    """None where there is none, with a reason."""
    reason: str = ""
    fractions: Sequence[float] | None = None
    """Of a metric that is made of a curve: where on it, in [0, 1]."""
    curve: Sequence[float] | None = None
    """The curve at these fractions; of ROAD that of the highest positions first."""
    lerf: Sequence[float] | None = None
    """Of ROAD the curve of the lowest positions first, at the same fractions."""
    counts: np.ndarray | None = None
    """Of a metric of the data set as a whole: int32 numbers, which are added over samples."""


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            ("label", pa.int64()),
            ("target", pa.int64()),
            pa.field("method", pa.string(), nullable=False),
            ("layer", pa.string()),
            pa.field("baseline", pa.bool_(), nullable=False),
            pa.field("metric", pa.string(), nullable=False),
            ("score", pa.float64()),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("protocol", pa.string(), nullable=False),
            ("fractions", pa.list_(pa.float32())),
            ("curve", pa.list_(pa.float32())),
            ("lerf", pa.list_(pa.float32())),
            ("counts", pa.list_(pa.int32())),
        ]
    )


def scores_path(folder: Path, metric: str, number: int) -> Path:
    """Return the path of a metric's scores of a shard."""
    return folder / metric / f"scores-{number:06d}.parquet"


def write_scores(path: Path, rows: Sequence[ScoreRow]) -> None:
    """Write scores, whole or not at all; equal rows give equal bytes.

    Raises:
        OutputError: if they cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {name: [] for name in _schema().names}
    for row in rows:
        for name, value in vars(row).items():
            columns[name].append(as_text(value) if isinstance(value, str) else value)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pydict(columns, schema=_schema()), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue(), durable=True)


def read_scores(path: Path) -> Iterator[ScoreRow]:
    """Yield the rows of a file of scores.

    Raises:
        DataError: if it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, schema=_schema()).combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"'{path}' cannot be read: {error}. Remove it; the same 'camtool eval' makes it again.") from error
    counts = _arrays(table["counts"])
    for values, own in zip(table.drop_columns("counts").to_pylist(), counts, strict=True):
        yield ScoreRow(**values, counts=own)


def _arrays(column: "pa.ChunkedArray") -> Iterator[np.ndarray | None]:
    """Yield the lists of a column as arrays, None for NULL."""
    for chunk in column.chunks:
        numbers, offsets = chunk.values.to_numpy(zero_copy_only=False), chunk.offsets.to_numpy()
        for is_known, first, last in zip(chunk.is_valid().to_numpy(zero_copy_only=False), offsets, offsets[1:], strict=False):
            yield numbers[first:last] if is_known else None
