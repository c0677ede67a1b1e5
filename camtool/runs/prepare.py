"""Check what is asked of a run before anything is made, and begin its store, or find that it is the same run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from camtool.apis import Explainer
from camtool.apis.class_selection import LABEL
from camtool.apis.explainer import BATCH_SIZE
from camtool.errors import CamtoolError, DataError, some
from camtool.models.sources.by_kind import NetworkInput
from camtool.runs.data import RunData, as_run_data
from camtool.runs.fingerprint import differences, fingerprint_of, plain
from camtool.runs.labels import read_labels
from camtool.runs.rows import Remarks
from camtool.runs.shards import Work, shard_size
from camtool.runs.trial import first_answer
from camtool.store.layout import check_folder, is_store, read_run, write_run


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What is asked of a run, besides the explainer, the data set and the store; see `run`."""

    categories: str | int | Sequence[str | int] = ()
    target: str | Mapping[str, Any] | None = None
    against: str | int | None = None
    batch_size: int = BATCH_SIZE
    workers: int = 0
    limit: int | None = None
    half: bool = False
    importances: bool = False
    max_failures: int | None = None
    threads: int | None = None
    rank: int = 0
    world_size: int = 1
    command: Sequence[str] = ()
    several: bool = False
    """Whether other processes make shards, too: then each has one thread unless it is said."""
    device: str | None = None
    """Where the maps are made, if that is not this explainer's device."""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("limit", 1), ("workers", 0), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise CamtoolError(f"Expected {name} of at least {least}, got {value}.")
        if not 0 <= self.rank < self.world_size:
            raise CamtoolError(f"Expected a rank from 0 to {self.world_size - 1}, of {self.world_size} processes, got {self.rank}.")


def prepare(explainer: Explainer, data: Any, folder: Path, options: RunOptions) -> Work:
    """Return what is made of which samples; the store is begun, unless it is there already.

    The explainer's `cam.importances` is set as the options say.

    Raises:
        CamtoolError: if the data set cannot be read, or no sample can be explained for a reason that is not its own.
        DataError: if the store is that of another run; the message has what is different.
        OutputError: if the folder cannot be written, or holds something else.
    """
    check_folder(folder)
    categories, target = options.categories, options.target
    selection = explainer.select(categories=categories, target=target, against=options.against)
    samples = as_run_data(data, explainer)
    count = len(samples) if options.limit is None else min(options.limit, len(samples))
    begun = read_run(folder) if is_store(folder) else None
    threads = threads_of(options, begun)
    fingerprint: dict[str, Any] = {
        **fingerprint_of(explainer),
        "target": plain({"categories": _as_list(categories) or ["predicted"], "target": target or explainer.settings.target}),
        "against": options.against,
        "batch_size": options.batch_size,
        "threads": threads,
        "limit": options.limit,
        "half": options.half,
        "importances": options.importances,
        "seed": explainer.settings.model.seed,
        "data": samples.fingerprint(),
    }
    if options.device is not None:
        fingerprint["device"] = torch.device(options.device).type
    if begun:  # before the first forward pass, so without the layers, which that may have to find
        _check_same(folder, begun, {**fingerprint, "layers": begun["fingerprint"].get("layers")})
    remarks = Remarks()
    explainer.cam.importances = options.importances
    with torch_threads(threads):
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
            "shard_size": shard_size(count, options.batch_size),
            "half": options.half,
            "importances": options.importances,
            "class_names": (None if trial is None else trial.names) or (labels.names and list(labels.names)),
            "root": samples.root,
            "input": NetworkInput(explainer.network.reading, explainer.network.preprocess).to_dict(),
            "seed": explainer.settings.model.seed,
            "command": list(options.command),
        },
    )
    _check_same(folder, description, fingerprint)
    return Work(
        explainer,
        selection,
        samples,
        labels,
        folder,
        description,
        threads,
        options.workers,
        options.max_failures,
        options.rank,
        options.world_size,
        remarks,
    )


def threads_of(options: RunOptions, begun: Mapping[str, Any] | None) -> int:
    """Return torch's number of threads in each process: what is asked, else that of the store, else 1 with several, else the machine's.

    Args:
        begun: description of the store's run; None if there is none.
    """
    if options.threads is not None:
        return options.threads
    if begun:
        return int(begun["fingerprint"].get("threads") or 1)
    return 1 if options.several else torch.get_num_threads()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set torch's number of threads in a `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_same(folder: Path, begun: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    changed = list(differences(begun["fingerprint"], fingerprint))
    if changed:
        raise DataError(f"'{folder}' is the store of another run; changed: {some(changed, 6)}. Choose another folder, or run as before.")


def _check_labels(categories: Any, samples: RunData) -> None:
    if LABEL in _as_list(categories) and samples.labels is not None and all(label is None for label in samples.labels):
        raise DataError("The data set has no labels, which --target-category label explains; expected sub-folders, or a column 'label'.")


def _as_list(categories: str | int | Sequence[str | int]) -> list[str]:
    return [str(categories)] if isinstance(categories, (str, int)) else [str(category) for category in categories]
