"""Explain a data set into a store: shard by shard, each whole or absent, so that a run that was killed goes on where it was."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from camtool.apis import Explainer
from camtool.apis.explainer import BATCH_SIZE
from camtool.apis.target_selection import LABEL
from camtool.attribution.cam import CAM
from camtool.errors import CamtoolError, DataError, some, warn
from camtool.runs.data import RunData, as_run_data
from camtool.runs.fingerprint import differences, fingerprint_of, plain
from camtool.runs.labels import read_labels
from camtool.runs.rows import Remarks
from camtool.runs.shards import OnProgress, Shards, Work, shard_size
from camtool.runs.trial import first_answer
from camtool.store.layout import check_folder, is_store, read_run, remove_abandoned, shard_path, write_run


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
        threads: of torch in this process; None: those that the store was begun with, else 1 with several processes, else the machine's.
        rank: number of this process, from 0.
        world_size: number of processes.
        verify: check the content of every shard before going on.
        command: as typed; it is noted in `run.json`.
        progress: called after every batch.

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
    _check_numbers(batch_size=batch_size, limit=limit, workers=workers, threads=threads, rank=rank, world_size=world_size)
    folder = Path(os.path.expanduser(out))
    check_folder(folder)
    selection = explainer.select(categories=categories, target=target, against=against)
    samples = as_run_data(data, explainer)
    count = len(samples) if limit is None else min(limit, len(samples))
    begun = read_run(folder) if is_store(folder) else None
    if threads is None:
        threads = begun["fingerprint"].get("threads") if begun else 1 if world_size > 1 else torch.get_num_threads()
    fingerprint: dict[str, Any] = {
        **fingerprint_of(explainer),
        "target": plain({"categories": _as_list(categories) or ["predicted"], "target": target or explainer.settings.target}),
        "against": against,
        "batch_size": batch_size,
        "threads": threads,
        "limit": limit,
        "half": half,
        "importances": importances,
        "seed": explainer.settings.model.seed,
        "data": samples.fingerprint(),
    }
    if begun:  # before the first forward pass, so without the layers, which that may have to find
        _check_same(folder, begun, {**fingerprint, "layers": begun["fingerprint"].get("layers")})
    remarks = Remarks()
    with _threads(int(threads or 1)), _importances(explainer.cam, wanted=importances):
        trial = first_answer(explainer, selection, samples, count, remarks)
        fingerprint["layers"] = explainer.cam.target_layers
        classes = len(trial.by_class) if trial is not None and trial.by_class else None
        labels = read_labels(samples, None if trial is None else trial.names, classes)
        _check_labels(categories, samples)
        description = begun or write_run(
            folder,
            {
                "fingerprint": fingerprint,
                "samples": count,
                "shard_size": shard_size(count, batch_size),
                "half": half,
                "importances": importances,
                "class_names": (None if trial is None else trial.names) or (labels.names and list(labels.names)),
                "root": samples.root,
                "seed": explainer.settings.model.seed,
                "command": list(command),
            },
        )
        _check_same(folder, description, fingerprint)
        work = Work(explainer, selection, samples, labels, folder, description, workers, max_failures, rank, world_size)
        shards = Shards(work, remarks, progress)
        repaired = shards.remove_damaged() if verify else []
        shards.make(shards.missing())
        if not verify:
            repaired = shards.remove_damaged()
            shards.make(shards.missing())
    if repaired:
        warn(f"Damaged shards were made again: {some([repr(shard_path(folder, number).name) for number in repaired])}.")
    remove_abandoned(folder)
    failures, of_maps = shards.failures.read()
    names = tuple(shard_path(folder, number).name for number in repaired)
    return RunReport(folder, count, shards.made, shards.not_there, failures, of_maps, names, time.perf_counter() - started)


def _check_numbers(*, batch_size: int, limit: int | None, workers: int, threads: int | None, rank: int, world_size: int) -> None:
    for name, value, least in (("batch_size", batch_size, 1), ("limit", limit, 1), ("workers", workers, 0), ("threads", threads, 1)):
        if value is not None and value < least:
            raise CamtoolError(f"Expected {name} of at least {least}, got {value}.")
    if not 0 <= rank < world_size:
        raise CamtoolError(f"Expected a rank from 0 to {world_size - 1}, of {world_size} processes, got {rank}.")


def _check_same(folder: Path, begun: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    changed = list(differences(begun["fingerprint"], fingerprint))
    if changed:
        raise DataError(f"'{folder}' is the store of another run; changed: {some(changed, 6)}. Choose another folder, or run as before.")


def _check_labels(categories: Any, samples: RunData) -> None:
    if LABEL in _as_list(categories) and samples.labels is not None and all(label is None for label in samples.labels):
        raise DataError("The data set has no labels, which --target-category label explains; expected sub-folders, or a column 'label'.")


def _as_list(categories: str | int | Sequence[str | int]) -> list[str]:
    return [str(categories)] if isinstance(categories, (str, int)) else [str(category) for category in categories]


@contextmanager
def _importances(cam: CAM, *, wanted: bool) -> Iterator[None]:
    before, cam.importances = cam.importances, wanted
    try:
        yield
    finally:
        cam.importances = before


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
