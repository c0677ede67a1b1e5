"""Make the shards of a run in the actors of a Ray cluster; the only file that imports Ray.

Ray schedules the numbers of shards; an actor is one more process of the run, which makes whole shards and writes them itself. These are
plain actors, and not an actor pool of Ray Data, which, measured (2.60), does not carry what a run promises: work that ends its process,
such as a file that crashes a decoder, is started again without end, or, with a limit on that, ends the job with an error that does not
say which samples it was about. Here it is tried a few times, then named.
"""

import logging
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from camtool.apis import Explainer
from camtool.errors import CamtoolError, warn
from camtool.runs.orders import Maker, Order, Outcome
from camtool.runs.prepare import RunOptions, threads_of
from camtool.runs.shards import OnProgress, RunProgress, Shards
from camtool.store.layout import check_folder, is_store, read_run

TRIES = 3
"""Of a shard whose actors end."""
PATIENCE = 20.0
"""Seconds until CPUs that are taken count as taken: a job that was killed gives its own back after some."""
_OBJECT_STORE = 100 * 2**20  # bytes, of a cluster of our own: only numbers pass through it


class RayEngine:
    """Actors of a Ray cluster that make the shards of a run, in a `with` block.

    Args:
        address: of a running cluster, "host:port" or "auto"; None: that of RAY_ADDRESS, else the cluster that this process is connected
            to already, else one on this machine for the time of the block.
        actors: how many; None: as many as leave one CPU free.
        device: of the actors, "cpu" or "cuda", one GPU each; None: that of the explainer.

    Raises:
        CamtoolError: if Ray is not installed, there is no such cluster, or actors would take all of its CPUs.

    Example:
        >>> engine = RayEngine(actors=4)  # with engine: run(explainer, "pictures", "maps", engine=engine)
        >>> engine.actors
        4
    """

    def __init__(self, address: str | None = None, *, actors: int | None = None, device: str | None = None) -> None:
        if actors is not None and actors < 1:
            raise CamtoolError(f"Expected at least 1 actor, got {actors}.")
        if device not in (None, "cpu", "cuda"):
            raise CamtoolError(f"Expected the device cpu or cuda for Ray's actors, which are given a GPU each, got '{device}'.")
        self.address, self.actors, self.device = address, actors, device
        self._ray: Any = None
        self._is_own = False

    def __enter__(self) -> "RayEngine":
        self._ray = _imported()
        if not self._ray.is_initialized():
            self._connect()
            self._is_own = True
        elif self.address not in (None, "auto", there := self._ray.get_runtime_context().gcs_address):
            raise CamtoolError(f"No Ray cluster at '{self.address}': this process is connected to the one at '{there}' already.")
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_own:
            self._ray.shutdown()
        self._ray, self._is_own = None, False

    @property
    def has_gpu(self) -> bool:
        """Whether the cluster has a GPU."""
        return bool(self._ray.cluster_resources().get("GPU", 0) >= 1)

    def order(self, explainer: Explainer, data: Any, folder: Path, options: RunOptions) -> Order:
        """Return what the actors are told; CamtoolError where they would take every CPU.

        To be called before a store is begun, which keeps the number of threads.
        """
        if self._ray is None:
            raise CamtoolError("Expected 'with engine: run(…, engine=engine)'; an engine is connected in its block only.")
        check_folder(folder)
        device = self.device or torch.device(explainer.settings.model.device).type
        model = replace(explainer.settings.model, device=device)
        settings = self._ray.cloudpickle.dumps(replace(explainer.settings, model=model))
        order = Order(model, settings, data, folder, replace(options, device=device), os.getcwd())
        self._room(_needs(order))
        return order

    def make(self, order: Order, shards: Shards, numbers: Sequence[int], progress: OnProgress | None = None) -> None:
        """Make shards; errors as of `Shards.make`."""
        if not numbers:
            return
        most, told = order.options.max_failures, set[str]()
        shards.failures.check(0, most)
        needs = _needs(order)
        count = min(self._room(needs), len(numbers))
        started = time.perf_counter()
        for number, outcome in self._outcomes(order, numbers, count, needs):
            for text in dict.fromkeys(outcome.warnings):
                if text not in told:
                    warn(text)
            told |= set(outcome.warnings)
            if outcome.error is not None:
                raise outcome.error
            shards.made += len(shards.samples_of(number))
            shards.failures.read()
            if progress is not None:
                done, seconds = shards.count - shards.not_there, time.perf_counter() - started
                progress(RunProgress(done, shards.count, shards.failures.total, shards.made, seconds))

    def _connect(self) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        _check_reachable(address)
        own = {"object_store_memory": _OBJECT_STORE, "include_dashboard": False} if address == "local" else {}
        before = os.environ.get("RAY_USAGE_STATS_ENABLED")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent anywhere
        try:
            self._ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:
            raise CamtoolError(_not_there(address, error)) from error
        finally:
            if before is None:
                del os.environ["RAY_USAGE_STATS_ENABLED"]
            else:
                os.environ["RAY_USAGE_STATS_ENABLED"] = before

    def _room(self, needs: Mapping[str, int]) -> int:
        """Return how many actors there will be; CamtoolError where they would take every CPU, with which Ray waits for ever."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room, cpus = actors_that_fit(nodes, needs), int(sum(node.get("CPU", 0) for node in nodes))
        wanted = self.actors or max(room, 1)
        each = f"{needs['CPU']} CPU{'' if needs['CPU'] == 1 else 's'}{' and a GPU' if needs['GPU'] else ''}"
        if not room:
            raise CamtoolError(
                f"Expected a cluster with room for an actor of {each} and one more CPU, which is left to Ray, since it hangs without a "
                f"word otherwise; got {cpus} CPUs. Try fewer --threads or --workers, or no --engine ray."
            )
        if wanted > room:
            raise CamtoolError(
                f"Expected at most {room} actor{'' if room == 1 else 's'} of {each} on {cpus} CPUs, one of which is left to Ray, since it "
                f"hangs without a word otherwise; got {wanted}."
            )
        deadline = time.monotonic() + PATIENCE
        while not _are_free(self._ray.available_resources(), needs):
            if time.monotonic() > deadline:
                free = int(self._ray.available_resources().get("CPU", 0))
                raise CamtoolError(
                    f"Expected {needs['CPU'] + 1} free CPUs, for an actor and for Ray, got {free} of {cpus}: others have the rest. "
                    "Try again when they have ended, or another cluster."
                )
            time.sleep(0.2)
        return wanted

    def _outcomes(self, order: Order, numbers: Sequence[int], count: int, needs: Mapping[str, int]) -> Iterator[tuple[int, Outcome]]:
        """Yield what became of each shard, in the order in which they are done; one whose actor ends is made again by a new one."""
        ray = self._ray
        # No restarts by Ray: it would not say that there was one.
        kind = ray.remote(Maker).options(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_restarts=0)
        try:
            told = ray.put(order)
        except Exception as error:
            raise CamtoolError(f"The data set cannot be sent to other processes: {' '.join(str(error).split())[:300]}.") from error
        waiting, tries = deque(numbers), Counter[int]()
        idle = [kind.remote() for _ in range(count)]
        busy: dict[Any, tuple[Any, int]] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    actor, number = idle.pop(), waiting.popleft()
                    busy[actor.make.remote(told, number)] = actor, number
                (done,), _ = ray.wait(list(busy), num_returns=1)
                actor, number = busy.pop(done)
                try:
                    outcome = ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.RayError as error:
                    _end(ray, actor)
                    tries[number] += 1
                    if tries[number] == TRIES:
                        raise CamtoolError(_given_up(number, error)) from error
                    warn(f"The process that made shard {number} ended; the shard is made again.")
                    waiting.appendleft(number)
                    idle.append(kind.remote())
                    continue
                if waiting:
                    idle.append(actor)
                else:
                    _end(ray, actor)  # one that still waits for a CPU may have this one's
                yield number, outcome
        finally:
            for actor in [*idle, *(actor for actor, _ in busy.values())]:
                _end(ray, actor)


def actors_that_fit(nodes: Sequence[Mapping[str, float]], needs: Mapping[str, int]) -> int:
    """Return how many actors fit on machines so that one CPU is left.

    Args:
        nodes: by machine what it has.
        needs: what an actor takes.

    Example:
        >>> actors_that_fit([{"CPU": 4.0}], {"CPU": 1, "GPU": 0}), actors_that_fit([{"CPU": 4.0}, {"CPU": 3.0}], {"CPU": 2, "GPU": 0})
        (3, 3)
        >>> actors_that_fit([{"CPU": 8.0, "GPU": 2.0}], {"CPU": 1, "GPU": 1})
        2
    """
    fits = sum(min(int(node.get(name, 0) // need) for name, need in needs.items() if need) for node in nodes)
    cpus = sum(node.get("CPU", 0) for node in nodes)
    return max(0, min(fits, int((cpus - 1) // needs["CPU"])))


def _check_reachable(address: str) -> None:
    """Raise CamtoolError if nobody answers at host:port, where Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:  # auto, local
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            pass
    except (OSError, OverflowError, ValueError) as error:
        raise CamtoolError(_not_there(address, error)) from error


def _not_there(address: str, error: Exception) -> str:
    return f"No Ray cluster at '{address}': {' '.join(str(error).split())[:300]}. Expected host:port, auto, or no --address."


def _needs(order: Order) -> dict[str, int]:
    """Return what an actor takes."""
    begun = read_run(order.folder) if is_store(order.folder) else None
    return {"CPU": threads_of(order.options, begun) + order.options.workers, "GPU": int(order.model.device == "cuda")}


def _are_free(free: Mapping[str, float], needs: Mapping[str, int]) -> bool:
    return free.get("CPU", 0) >= needs["CPU"] + 1 and free.get("GPU", 0) >= needs["GPU"]


def _given_up(number: int, error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return f"Shard {number} ended its process {TRIES} times. Try without --engine ray; what is done is in the store. In Ray's words: {text}"


def _end(ray: Any, actor: Any) -> None:
    with suppress(ray.exceptions.RayError, ValueError):  # it has ended
        ray.kill(actor, no_restart=True)


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise CamtoolError("--engine ray needs the package ray, which is not installed: 'pip install \"camtool[ray]\"'.") from error
    return ray
