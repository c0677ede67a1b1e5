"""Read and preprocess the samples of a run ahead of the maps, in workers."""

import random
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pickle import UnpicklingError
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from camtool.apis import Explainer
from camtool.apis.images import NamedPicture
from camtool.apis.subjects import Prepared
from camtool.errors import UNREADABLE, CamtoolError, DataError
from camtool.runs.data import Item, RunData, TorchData
from camtool.runs.labels import Labels


@dataclass
class Loaded:
    """A sample of a batch: preprocessed, or what is wrong with it."""

    number: int
    path: str
    digest: str | None
    label: int | None
    prepared: Prepared | None = None
    status: str = ""
    reason: str = ""


class Batches(Dataset[list[Loaded]]):
    """Batches of samples by their numbers, read and preprocessed; a sample that cannot be read is told, not raised.

    Args:
        data: the samples.
        explainer: whose preprocessing it is.
        labels: class indices by label.
        batches: numbers of the samples of each batch.
        seed: of data sets that draw random numbers.
    """

    def __init__(self, data: RunData, explainer: Explainer, labels: Labels, batches: Sequence[Sequence[int]], seed: int) -> None:
        self._data, self._explainer, self._labels, self._batches, self._seed = data, explainer, labels, batches, seed

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, batch: int) -> list[Loaded]:
        return [self.sample(number) for number in self._batches[batch]]

    def sample(self, number: int) -> Loaded:
        """Return one sample."""
        data, path = self._data, self._data.path(number)
        label = None if data.labels is None else self._labels.of(data.labels[number])
        digest = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # remarks on pictures are in `Prepared.warnings`
                with seeded(self._seed + number if isinstance(data, TorchData) else None):
                    item = data.read(number)
                digest = item.digest
                label = self._labels.of(item.label) if item.label is not None else label
                prepared = self._prepared(item, path, label)
        except CamtoolError as error:
            return Loaded(number, path, digest, label, None, error.status, str(error))
        except Exception as error:  # noqa: BLE001 - a picture that a library chokes on is a row, not the end of the run
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            return Loaded(number, path, digest, label, None, UNREADABLE, reason)
        return Loaded(number, path, digest, label, prepared)

    def _prepared(self, item: Item, path: str, label: int | None) -> Prepared:
        content: Any = item.content
        if not (isinstance(content, Tensor) and content.is_floating_point()):
            return self._explainer.prepared(content, label=label)
        if content.ndim < 2:
            raise DataError(f"Expected an input (channels, *spatial), got a tensor of shape {tuple(content.shape)}.")
        nothing = NamedPicture(np.zeros((1, 1, 3), np.uint8), path)
        return Prepared(nothing, content.detach()[None], [], label)


def loaded_batches(batches: Batches, workers: int) -> Iterator[list[Loaded]]:
    """Yield the batches in order, read ahead by worker processes; 0: here, one after the other.

    Raises:
        DataError: if a worker process has ended; between two batches, never while the caller is at work.
    """
    if not len(batches):
        return
    # Numbers of its own: a data loader draws a base seed from the global generator.
    loader = DataLoader(
        batches, batch_size=None, shuffle=False, num_workers=workers, generator=torch.Generator(), worker_init_fn=silent_of_lost_connections
    )
    if not workers:
        yield from loader
        return
    iterator: Iterator[list[Loaded]] | None = iter(loader)
    with deaths_told_only_when_asked() as asking:
        try:
            while iterator is not None:
                with asking():
                    loaded = next(iterator, None)
                if loaded is None:
                    break
                yield loaded
        except (RuntimeError, OSError, EOFError, UnpicklingError) as error:  # of the worker, or of the pipe to one that was killed
            if isinstance(error, RuntimeError) and "worker" not in str(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold the iterator, which ends its workers when it is dropped
            text = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
            raise DataError(f"A worker process ended: {text}. Run the same command again, or with --workers 0.") from error
        finally:
            iterator = None


def silent_of_lost_connections(_: int) -> None:
    """Let a worker print no traceback of a connection that the other side has left: it hands tensors over in a thread of its own.

    The other side leaves when a worker has died, which it says in words, or is interrupted.
    """
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, (ConnectionError, EOFError)):
            shown(kind, error, trace)

    sys.excepthook = hook


@contextmanager
def deaths_told_only_when_asked() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Yield what makes blocks in which a worker's death is raised, as torch does it at any moment; elsewhere it waits for the next block.

    Raised in the middle of a network's own code, it would be taken for an error of the network, and of the pictures that it has just got.
    """
    signal_number = getattr(signal, "SIGCHLD", None)  # Windows has none, and other threads get none
    raising: Any = None
    if signal_number is not None and threading.current_thread() is threading.main_thread():
        raising = signal.getsignal(signal_number)
    if signal_number is None or not callable(raising):
        yield nullcontext
        return
    told, inside = [], [False]

    def handle(number: int, frame: Any) -> None:
        if inside[0]:
            raising(number, frame)
        else:
            told.append(number)

    @contextmanager
    def asking() -> Iterator[None]:
        inside[0] = True
        try:
            if told:
                told.clear()
                raising(signal_number, None)
            yield
        finally:
            inside[0] = False

    signal.signal(signal_number, handle)
    try:
        yield asking
    finally:
        signal.signal(signal_number, raising)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed Python, NumPy and torch in a `with` block, and put their states back; None: leave them alone."""
    if seed is None:
        yield
        return
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed notes the caller for every kind of device, which takes a millisecond
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
