"""Shards are written beside the network, with the guarantees of one that waits for each."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import camtool.runs.writer
import camtool.store.layout
import camtool.store.writer
from camtool.errors import CamtoolError, OutputError
from camtool.runs import run
from camtool.runs.shards import RunProgress
from camtool.runs.writer import ShardWriter
from camtool.store.layout import shard_numbers
from camtool.store.schema import Row
from tests.runs import tiny

WAIT = 10.0  # seconds after which a test is stuck


def rows(number: int) -> list[Row]:
    """Return the row of a sample."""
    return [Row(number, "cat.jpg", method="gradcam", layer="[0]", map=torch.full((2, 2), 1.0 + number))]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the shards by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let no shard be written before this event is set."""
    event, write = threading.Event(), camtool.runs.writer.write_rows

    def waiting(*arguments: Any, **keywords: Any) -> Any:
        assert event.wait(WAIT)
        return write(*arguments, **keywords)

    monkeypatch.setattr(camtool.runs.writer, "write_rows", waiting)
    return event


@pytest.fixture
def full_at_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full for shard 1."""
    write = camtool.store.layout.write_atomically

    def limited(path: Path, content: bytes, **keywords: Any) -> None:
        if path.name == "maps-000001.parquet":
            raise OutputError(f"Cannot write '{path}': No space left on device. Choose another path.")
        write(path, content, **keywords)

    monkeypatch.setattr(camtool.store.layout, "write_atomically", limited)


def test_the_caller_goes_on_while_one_shard_is_written_and_waits_with_the_next(tmp_path: Path, held: threading.Event) -> None:
    handed_over = []
    with ShardWriter(tmp_path) as writer:

        def hand_over(numbers: Sequence[int]) -> None:
            for number in numbers:
                writer.write(number, rows(number))
                handed_over.append(number)

        hand_over([0])  # returns, though nothing is written
        assert shard_numbers(tmp_path) == []
        other = threading.Thread(target=hand_over, args=([1, 2],))
        other.start()
        other.join(0.3)
        assert handed_over == [0], "a second shard waited in memory"
        held.set()
        other.join(WAIT)

    assert handed_over == [0, 1, 2]
    assert shard_numbers(tmp_path) == [0, 1, 2]


def test_what_is_handed_over_is_written_before_an_interruption_leaves_the_block(tmp_path: Path, held: threading.Event) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path) as writer:
            writer.write(0, rows(0))
            raise KeyboardInterrupt

    threading.Timer(0.3, held.set).start()
    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert shard_numbers(tmp_path) == [0]


@pytest.mark.usefixtures("full_at_one")
@pytest.mark.parametrize("noticed_by", ["the next shard", "a check", "the end"])
def test_a_shard_that_cannot_be_written_is_told_once_and_the_others_stay(tmp_path: Path, noticed_by: str) -> None:
    def write() -> None:
        with ShardWriter(tmp_path) as writer:
            writer.write(0, rows(0))
            writer.write(1, rows(1))
            if noticed_by == "the next shard":
                writer.write(2, rows(2))
            if noticed_by == "a check":
                deadline = time.monotonic() + WAIT
                while time.monotonic() < deadline:
                    writer.check()
                pytest.fail("not told")

    with pytest.raises(OutputError, match=r"maps-000001\.parquet': No space left on device"):
        write()

    assert shard_numbers(tmp_path) == [0]


def test_a_run_whose_disk_was_full_goes_on_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    data = tiny.pictures(tmp_path / "data", 150)
    run(tiny.explainer(tmp_path), data, tmp_path / "whole")
    request.getfixturevalue("full_at_one")

    with pytest.raises(OutputError, match="No space left on device"):
        run(tiny.explainer(tmp_path), data, tmp_path / "out")

    assert shard_numbers(tmp_path / "out") == [0]
    monkeypatch.undo()
    assert run(tiny.explainer(tmp_path), data, tmp_path / "out").made == 150 - 64
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def slow_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first shard take a second to write."""
    write = camtool.store.writer.write_shard

    def slow(folder: Path, number: int, *arguments: Any) -> None:
        time.sleep(1.0 if number == 0 else 0.0)
        write(folder, number, *arguments)

    monkeypatch.setattr(camtool.store.writer, "write_shard", slow)


@pytest.mark.usefixtures("slow_shard")
def test_failures_of_a_shard_that_is_being_written_count(tmp_path: Path) -> None:
    data = tiny.pictures(tmp_path / "data", 80)
    paths = sorted(data.rglob("*.png"))
    for path in (*paths[:3], paths[64]):
        path.write_bytes(b"none")
    seen: list[RunProgress] = []

    with pytest.raises(CamtoolError, match="4 samples could not be explained, more than --max-failures 3"):
        run(tiny.explainer(tmp_path), data, tmp_path / "out", max_failures=3)
    report = run(tiny.explainer(tmp_path), data, tmp_path / "again", max_failures=4, progress=seen.append)

    assert report.failures == {"unreadable": 4}
    assert [progress.failures for progress in seen] == [3] * 8 + [4, 4]
