"""The writing of shards beside the network: encoded and synced in a thread of their own while the next batches are explained."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType

from camtool.store.layout import ShardRecord
from camtool.store.schema import Row
from camtool.store.writer import write_rows


class ShardWriter:
    """Writes shards one after the other, each whole or not at all; at most one waits, so that memory stays flat.

    An error is raised in the thread that hands shards over: by the next call, or at the end of the `with` block. The block ends when
    everything that it was given is written, also after an error or an interruption of its own.

    Args:
        folder: of the store.
        half: see `camtool.store.writer.write_rows`, as `importances`.

    Raises:
        OutputError: if a shard cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from camtool.store.layout import shard_numbers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ShardWriter(Path(folder)) as writer:
        ...         writer.write(0, [Row(0, "cat.jpg", method="gradcam", layer="[0]", map=torch.ones(2, 2))])
        ...     shard_numbers(Path(folder))
        [0]
    """

    def __init__(self, folder: Path, *, half: bool = False, importances: bool = False) -> None:
        self._write = partial(write_rows, folder, half=half, importances=importances)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shards")
        self._pending: Future[ShardRecord] | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)
        if kind is None:
            self._settle()

    def check(self) -> None:
        """Raise the error of the last shard, if it has already failed."""
        if self._pending is not None and self._pending.done():
            self._settle()

    def write(self, number: int, rows: Sequence[Row]) -> None:
        """Hand over the rows of a shard, which must not be changed afterwards; waits until the last one is written."""
        self._settle()
        self._pending = self._thread.submit(self._write, number, rows)

    def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
