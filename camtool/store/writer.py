"""Encode rows as a shard, and write it."""

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from camtool.store.layout import ShardRecord, write_shard
from camtool.store.schema import INFORMED, OK, Row, as_table

_NAMES = ["path", "method", "layer", "status", "reason"]  # values that repeat


def encode_shard(rows: Sequence[Row], *, half: bool = False, importances: bool = False) -> bytes:
    """Return the Parquet file of rows; equal rows give equal bytes."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    table = as_table(rows, half=half, importances=importances)
    pq.write_table(table, buffer, compression="zstd", use_dictionary=_NAMES, write_statistics=["id", "label", "predicted", "target"])
    return buffer.getvalue()


def write_rows(folder: Path, number: int, rows: Sequence[Row], *, half: bool = False, importances: bool = False) -> ShardRecord:
    """Write the rows of a shard, whole or not at all; return what its manifest says.

    Raises:
        OutputError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> import torch
        >>> row = Row(0, "cat.jpg", method="gradcam", layer="[0]", map=torch.ones(2, 2), status="no gradient")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_rows(Path(folder), 0, [row]).failures
        {'no gradient': 1}
    """
    content = encode_shard(rows, half=half, importances=importances)
    failures, remarks = counts_of(rows)
    record = ShardRecord(hashlib.sha256(content).hexdigest(), len(rows), failures, remarks)
    write_shard(folder, number, content, record)
    return record


def counts_of(rows: Sequence[Row]) -> tuple[dict[str, int], dict[str, int]]:
    """Return by status the number of samples that could not be explained, and of maps with a remark.

    Example:
        >>> counts_of([Row(0, "cat.jpg", "gradcam", status="unreadable"), Row(0, "cat.jpg", "layercam", status="unreadable")])
        ({'unreadable': 1}, {})
    """
    failed = {row.id: row.status for row in reversed(rows) if row.status not in INFORMED}
    remarks = Counter(row.status for row in rows if row.status in INFORMED and row.status != OK)
    return dict(sorted(Counter(failed.values()).items())), dict(remarks)
