"""Shards made in a process that has nothing yet but an order."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from camtool.apis import Explainer
from camtool.apis.model import ModelRequest, quiet_libraries
from camtool.errors import CamtoolError, recorded_warnings
from camtool.runs.prepare import RunOptions, prepare
from camtool.runs.shards import Shards
from camtool.store.layout import require_store


@dataclass(frozen=True)
class Order:
    """What is made, for a process that has nothing yet."""

    model: ModelRequest
    settings: bytes
    """Pickled: what they are made of is importable only after the config's `custom_imports`."""
    data: Any
    folder: Path
    options: RunOptions
    place: str
    """Working folder, which relative paths begin at."""


@dataclass(frozen=True)
class Outcome:
    """What became of a shard."""

    warnings: list[str]
    error: CamtoolError | None = None


class Maker:
    """Makes whole shards, in a process of its own."""

    def __init__(self) -> None:
        self._shards: Shards | None = None

    def make(self, order: Order, number: int) -> Outcome:
        """Make a shard; errors are returned, since Ray wraps what is raised."""
        with recorded_warnings() as caught:
            try:
                self._shards = self._shards or _begun(order)
                self._shards.make([number])
                error = None
            except CamtoolError as raised:
                error = raised
        return Outcome([str(warning.message) for warning in caught], error)


def _begun(order: Order) -> Shards:
    """Return the shards of an order, in a process that has nothing yet."""
    if os.path.isdir(order.place):
        os.chdir(order.place)
    quiet_libraries()
    try:
        require_store(order.folder)
    except CamtoolError as error:
        raise CamtoolError(f"On the machine {os.uname().nodename}: {error} All machines of the cluster need the same folders.") from error
    order.model.read_config()
    settings = pickle.loads(order.settings)  # of the process that gave the order, nobody else
    work = prepare(Explainer.of(settings), order.data, order.folder, order.options)
    torch.set_num_threads(work.threads)
    return Shards(work)
