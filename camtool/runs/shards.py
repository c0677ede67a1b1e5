"""The shards of a run that one process makes."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from camtool.apis import Explainer
from camtool.apis.selection_base import TargetSelection
from camtool.runs.data import RunData
from camtool.runs.failures import Failures
from camtool.runs.labels import Labels
from camtool.runs.loader import Batches, loaded_batches
from camtool.runs.rows import Remarks, rows_of_batch
from camtool.runs.writer import ShardWriter
from camtool.store.layout import damaged_shards, shard_numbers, shard_path
from camtool.store.schema import Row
from camtool.store.writer import counts_of

LEAST_SAMPLES = 64
"""Of a shard."""
_MOST_SHARDS = 500  # of large data sets, about: a shard's own description takes some 8 kB


@dataclass(frozen=True)
class RunProgress:
    """How far a process is with its part of a run."""

    done: int
    """Samples of this process that are in the store, or in the shard that is being made."""
    total: int
    failures: int
    """Samples that could not be explained, in the store and in the shard that is being made."""
    made: int
    """Samples explained since the start of this process."""
    seconds: float
    """Since the first sample."""


OnProgress: TypeAlias = Callable[[RunProgress], None]


def shard_size(count: int, batch_size: int) -> int:
    """Return the number of samples of a shard: a multiple of the batch size, at least 64, and more for large data sets.

    Example:
        >>> shard_size(1000, 8), shard_size(1000, 48), shard_size(1_000_000, 8)
        (64, 96, 2000)
    """
    return -(-max(LEAST_SAMPLES, -(-count // _MOST_SHARDS)) // batch_size) * batch_size


@dataclass(frozen=True)
class Work:
    """What is made of which samples, in which store."""

    explainer: Explainer
    selection: TargetSelection
    samples: RunData
    labels: Labels
    folder: Path
    description: Mapping[str, Any]
    """Of the run, as in `run.json`."""
    threads: int = 1
    """Of torch, in each process."""
    workers: int = 0
    max_failures: int | None = None
    rank: int = 0
    world_size: int = 1
    remarks: Remarks = field(default_factory=Remarks)
    """Shows each remark on the network once."""


class Shards:
    """The shards that one process makes: those of its number, of all that the run has.

    Args:
        work: what is made.
        progress: called after every batch.
    """

    def __init__(self, work: Work, progress: OnProgress | None = None) -> None:
        self._work, self._folder, self._progress = work, work.folder, progress
        self.count, self._size = int(work.description["samples"]), int(work.description["shard_size"])
        self._batch_size, self._half = int(work.description["fingerprint"]["batch_size"]), bool(work.description["half"])
        self._importances = bool(work.description["importances"])
        self._own = range(-(-self.count // self._size))[work.rank :: work.world_size]
        self.made = 0
        """Samples explained by this process."""
        self.failures = Failures(work.folder)
        self._remarks = work.remarks

    def samples_of(self, number: int) -> range:
        """Return the samples of a shard."""
        return range(number * self._size, min((number + 1) * self._size, self.count))

    @property
    def not_there(self) -> int:
        """Number of samples in shards that are not there, of all processes."""
        return self.count - sum(len(self.samples_of(number)) for number in shard_numbers(self._folder))

    def missing(self) -> list[int]:
        """Return the shards of this process that are not there."""
        there = set(shard_numbers(self._folder))
        return [number for number in self._own if number not in there]

    def remove_damaged(self) -> list[int]:
        """Remove the shards of this process whose content is not what was written, and return their numbers."""
        there = set(shard_numbers(self._folder))
        damaged = damaged_shards(self._folder, [number for number in self._own if number in there])
        for number in damaged:
            shard_path(self._folder, number).unlink(missing_ok=True)
        return damaged

    def make(self, numbers: Sequence[int]) -> None:
        """Make shards; CamtoolError at the sample with which there are too many failures."""
        work, most = self._work, self._work.max_failures
        self.failures.check(0, most)
        total = sum(len(self.samples_of(number)) for number in self._own)
        done = total - sum(len(self.samples_of(number)) for number in numbers)
        plan = [(number, batch) for number in numbers for batch in self._batches_of(number)]
        seed = work.explainer.settings.model.seed
        batches = Batches(work.samples, work.explainer, work.labels, [batch for _, batch in plan], seed)
        rows: list[Row] = []
        failed: set[int] = set()
        started = time.perf_counter()
        with ShardWriter(self._folder, half=self._half, importances=self._importances) as writer:
            for (number, batch), loaded in zip(plan, loaded_batches(batches, work.workers), strict=True):
                of_batch = list(rows_of_batch(work.explainer, work.selection, loaded, self._remarks))
                rows += of_batch
                failed |= {row.id for row in of_batch if row.map is None}
                self.failures.check(len(failed), most)
                writer.check()
                self.made, done = self.made + len(batch), done + len(batch)
                if batch[-1] == self.samples_of(number)[-1]:
                    writer.write(number, rows)
                    self.failures.add(number, *counts_of(rows))
                    rows, failed = [], set()
                if self._progress is not None:
                    failures = self.failures.total + len(failed)
                    self._progress(RunProgress(done, total, failures, self.made, time.perf_counter() - started))

    def _batches_of(self, number: int) -> list[range]:
        samples = self.samples_of(number)
        return [samples[start : start + self._batch_size] for start in range(0, len(samples), self._batch_size)]
