"""Explain a data set into a store: shard by shard, each whole or absent, so that a run that was killed goes on where it was."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camtool.apis import Explainer
from camtool.apis.explainer import BATCH_SIZE
from camtool.errors import CamtoolError, some, warn
from camtool.runs.prepare import RunOptions, prepare, torch_threads
from camtool.runs.shards import OnProgress, Shards
from camtool.store.layout import remove_abandoned, shard_path

if TYPE_CHECKING:
    from camtool.runs.ray_engine import RayEngine


@dataclass(frozen=True)
class RunReport:
    """What a process did, and what its store has now."""

    out: Path
    samples: int
    """Of the data set."""
    made: int
    """Explained by this process."""
    missing: int
    """Samples in shards that are not there: the part of other processes."""
    failures: dict[str, int] = field(default_factory=dict)
    """By status the number of samples that could not be explained, in the whole store."""
    remarks: dict[str, int] = field(default_factory=dict)
    """By status the number of maps without evidence."""
    repaired: tuple[str, ...] = ()
    """Shards that were damaged and were made again."""
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Number of samples that could not be explained."""
        return sum(self.failures.values())


def run(  # noqa: PLR0913 - a keyword each
    explainer: Explainer,
    data: Any,
    out: str | Path,
    *,
    categories: str | int | Sequence[str | int] = (),
    target: str | Mapping[str, Any] | None = None,
    against: str | int | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    limit: int | None = None,
    half: bool = False,
    importances: bool = False,
    max_failures: int | None = None,
    threads: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    verify: bool = False,
    command: Sequence[str] = (),
    progress: OnProgress | None = None,
    engine: "RayEngine | None" = None,
) -> RunReport:
    """Write the maps of a data set into a store, or what of them is not there yet; return what was done.

    The rows do not depend on the number of processes or workers, nor on how often the run was interrupted.

    Args:
        explainer: the network and the methods.
        data: a folder of pictures, whose sub-folders are labels; a list (.txt, or .csv with the columns path and label); "config:val",
            "config:train"; or a map-style data set or DataLoader of torch.
        out: folder of the store, new, empty, or of the same run.
        categories: classes by index or name, "predicted" (the default), "label" or "all".
        target: the target's name, or a config dict; None: that of the explainer.
        against: the other class of the target "contrast".
        batch_size: number of samples that share a forward pass; which ones is fixed by the shards.
        workers: processes that read and preprocess; 0: none besides this one.
        limit: only so many samples, the first ones.
        importances: store the importance of each channel, the sum over positions of its contribution, of methods that have such.
        half: store maps in float16, each divided by its largest absolute value.
        max_failures: stop when more samples than this could not be explained; None: never.
        threads: of torch in this process; None: those that the store was begun with, else 1 with several processes or an engine, else the
            machine's.
        rank: number of this process, from 0.
        world_size: number of processes.
        verify: check the content of every shard before going on.
        command: as typed; it is noted in `run.json`.
        progress: called after every batch, or shard of an engine.
        engine: makes the shards in processes of its own; None: this process makes them.

    Raises:
        CamtoolError: if the data set cannot be read, no sample can be explained for a reason that is not its own, or there are more
            failures than `max_failures`.
        DataError: if the store is that of another run; the message has what is different.
        OutputError: if `out` cannot be written, or holds something else.

    Example:
        >>> import tempfile
        >>> import camtool.store
        >>> from camtool.apis import Explainer
        >>> explainer = Explainer("efficientnet-lite0_in1k", method="gradcam")
        >>> with tempfile.TemporaryDirectory() as out:
        ...     report = run(explainer, "demo", out, limit=1)
        ...     rows = [(row["path"], row["target"], row["status"], row.map.shape) for row in camtool.store.open(out)]
        >>> report.made, rows
        (1, [('cat.jpg', 282, 'ok', torch.Size([7, 7]))])
    """
    started = time.perf_counter()
    if engine is not None and world_size > 1:
        raise CamtoolError(f"Expected one process where an engine makes the shards, got {world_size}; try without --launcher.")
    options = RunOptions(
        categories=categories,
        target=target,
        against=against,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        half=half,
        importances=importances,
        max_failures=max_failures,
        threads=threads,
        rank=rank,
        world_size=world_size,
        command=command,
        several=engine is not None or world_size > 1,
        device=None if engine is None else engine.device,
    )
    folder = Path(os.path.expanduser(out))
    with _importances_as_before(explainer):
        order = None if engine is None else engine.order(explainer, data, folder, options)
        work = prepare(explainer, data, folder, options)
        shards = Shards(work, progress)
        make = partial(engine.make, order, shards, progress=progress) if engine is not None and order is not None else shards.make
        with torch_threads(work.threads):
            repaired = shards.remove_damaged() if verify else []
            make(shards.missing())
            if not verify:
                repaired = shards.remove_damaged()
                make(shards.missing())
    if repaired:
        warn(f"Damaged shards were made again: {some([repr(shard_path(folder, number).name) for number in repaired])}.")
    remove_abandoned(folder)
    failures, of_maps = shards.failures.read()
    names = tuple(shard_path(folder, number).name for number in repaired)
    return RunReport(folder, shards.count, shards.made, shards.not_there, failures, of_maps, names, time.perf_counter() - started)


@contextmanager
def _importances_as_before(explainer: Explainer) -> Iterator[None]:
    before = explainer.cam.importances
    try:
        yield
    finally:
        explainer.cam.importances = before
