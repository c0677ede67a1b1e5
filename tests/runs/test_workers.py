"""Workers that are killed: one readable error between two batches, and rows as if nothing had happened."""

import multiprocessing
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from torch import Tensor, nn
from torch.utils.data import DataLoader

from camtool.errors import DataError
from camtool.runs import run
from camtool.runs.loader import Batches, deaths_told_only_when_asked, loaded_batches, silent_of_lost_connections
from camtool.store.layout import shard_numbers
from tests.runs import tiny
from tests.runs.deadly import Deadly
from tests.runs.test_processes import assert_same_store

SAMPLES = 170


def test_a_worker_that_is_killed_is_one_error_and_the_run_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = Deadly(SAMPLES, tmp_path / "deaths")

    with pytest.raises(DataError, match=r"^A worker process ended: .*\. Run the same command again, or with --workers 0\.$"):
        run(tiny.explainer(tmp_path), data, tmp_path / "out", workers=2, threads=1)

    assert capfd.readouterr().err == ""
    assert not multiprocessing.active_children()
    assert set(shard_numbers(tmp_path / "out")) <= {0}
    run(tiny.explainer(tmp_path), data, tmp_path / "out", workers=2, threads=1)
    run(tiny.explainer(tmp_path), data, tmp_path / "alone", threads=1)
    assert data.counted() == 1
    assert_same_store(tmp_path / "out", tmp_path / "alone")


def test_a_worker_that_is_killed_while_the_network_works_is_no_error_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tiny.pictures(tmp_path / "data", SAMPLES)
    run(tiny.explainer(tmp_path), data, tmp_path / "alone", threads=1)
    explainer = tiny.explainer(tmp_path)
    network = type(explainer.network.model)
    forward, ended = network.forward, []

    def kill(model: nn.Module, pictures: Tensor) -> Tensor:
        scores = forward(model, pictures)
        if ended.count(8) == 7 and multiprocessing.active_children():  # the last batch of the first shard: what it says is written
            for worker in multiprocessing.active_children():
                worker.kill()
            time.sleep(0.3)
        ended.append(len(pictures))
        return scores

    monkeypatch.setattr(network, "forward", kill)
    with pytest.raises(DataError, match="A worker process ended"):
        run(explainer, data, tmp_path / "out", workers=1, threads=1)
    monkeypatch.setattr(network, "forward", forward)

    assert [count for count in ended if count > 1] == [8] * 8, "the batches of the first shard"
    assert ended[-8:] == [8] * 8, "and none of its samples again"
    assert capfd.readouterr().err == ""
    assert shard_numbers(tmp_path / "out") == [0]
    run(tiny.explainer(tmp_path), data, tmp_path / "out", workers=1, threads=1)
    assert_same_store(tmp_path / "out", tmp_path / "alone")


def test_a_worker_prints_no_traceback_of_a_connection_that_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, *_: shown.append(kind))
    silent_of_lost_connections(0)
    for error in (ConnectionResetError(), EOFError(), ValueError()):
        sys.excepthook(type(error), error, None)
    assert shown == [ValueError]


class InWorker(Batches):
    """A batch that says whether its process is silent."""

    def __init__(self) -> None: ...

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> Any:
        return "silent_of_lost_connections" in getattr(sys.excepthook, "__qualname__", "")


def test_workers_are_told_so() -> None:
    assert list(loaded_batches(InWorker(), 1)) == [True]
    assert list(loaded_batches(InWorker(), 0)) == [False]


def test_the_handler_of_torch_is_put_back_and_raises_only_inside() -> None:
    iter(DataLoader([1, 2], num_workers=1))  # type: ignore[arg-type]  # has it installed
    before = signal.getsignal(signal.SIGCHLD)
    heard: list[int] = []

    def own(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    signal.signal(signal.SIGCHLD, own)
    try:
        with deaths_told_only_when_asked() as asking:
            signal.raise_signal(signal.SIGCHLD)
            assert heard == []
            with asking():
                assert heard == [signal.SIGCHLD]
                signal.raise_signal(signal.SIGCHLD)
                assert heard == [signal.SIGCHLD] * 2
            with asking():
                assert heard == [signal.SIGCHLD] * 2
        assert signal.getsignal(signal.SIGCHLD) is own
    finally:
        signal.signal(signal.SIGCHLD, before)
