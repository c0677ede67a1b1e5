"""Damage is found and named, wherever it is; what is no store is refused in one line; finding out what is left opens nothing."""

import builtins
import io
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import camtool.store
from camtool.errors import DataError, OutputError
from camtool.store.layout import (
    MANIFEST,
    check_folder,
    damaged_shards,
    manifest,
    read_record,
    shard_numbers,
    shard_path,
    write_run,
)
from camtool.store.writer import write_rows
from tests.store.made import failed, make_store, random_rows


def test_a_flipped_bit_is_found_wherever_it_is_and_the_shard_named(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "store", 12, 4)
    path = shard_path(folder, 1)
    content = path.read_bytes()
    drawn = random.Random(0)
    for place in [0, len(content) - 1, *drawn.sample(range(len(content)), 60)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=r"Shard '.*maps-000001\.parquet' is damaged"):
            list(camtool.store.open(folder))
        assert damaged_shards(folder, shard_numbers(folder)) == [1]
    path.write_bytes(content)
    assert damaged_shards(folder, shard_numbers(folder)) == []
    assert len(list(camtool.store.open(folder))) == 12


@pytest.mark.parametrize("length", [0, 3, 100, -1])
def test_a_truncated_shard_is_named(tmp_path: Path, length: int) -> None:
    folder = make_store(tmp_path / "store", 12, 4)
    content = shard_path(folder, 2).read_bytes()
    shard_path(folder, 2).write_bytes(content[:length])
    rows = iter(camtool.store.open(folder))
    assert [next(rows)["id"] for _ in range(8)] == list(range(8))  # those before it are read
    with pytest.raises(DataError, match=r"maps-000002\.parquet' is damaged"):
        next(rows)


def test_another_shards_content_is_no_shard(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "store", 12, 4)
    shard_path(folder, 1).write_bytes(shard_path(folder, 0).read_bytes())
    with pytest.raises(DataError, match=r"maps-000001\.parquet' is damaged"):
        list(camtool.store.open(folder))


def test_deleted_shards_are_named_and_those_that_are_just_being_written_are_not(tmp_path: Path) -> None:
    """A shard follows its record; a run that has not come to a shard has no record of it."""
    folder = make_store(tmp_path / "store", 32, 8)
    for number in (1, 3):
        (folder / f"maps-{number:06d}.parquet").unlink()
    store = camtool.store.open(folder)
    assert [row["id"] for row in store] == [*range(8), *range(16, 24)], "records of a moment ago: their shards may follow"

    for number, age in ((1, 4.0), (3, 6.0)):
        (record,) = (folder / "_manifest").glob(f"{number:06d}-*.json")
        os.utime(record, (time.time() - age,) * 2)
    for read in (lambda: list(store), store.table, lambda: store.distinct("label"), store.maps):
        with pytest.raises(DataError, match=r"records of shards that are not there: 'maps-000003.parquet'\."):
            read()


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "store", 4, 4)
    for path in (folder / MANIFEST).iterdir():
        path.unlink()
    (folder / MANIFEST).rmdir()
    with pytest.raises(DataError, match=r"has no checksum in '.*_manifest'"):
        list(camtool.store.open(folder))
    assert damaged_shards(folder, [0]) == [0]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "store", 4, 4)
    ((sha256, path),) = manifest(folder)[0].items()
    assert read_record(path, sha256).rows == 4
    path.write_text('{"rows": "four"')
    with pytest.raises(DataError, match="is damaged"):
        read_record(path, sha256)


def test_the_record_counts_samples_that_failed_and_rows_with_a_remark(tmp_path: Path) -> None:
    rows = [failed(0), failed(0, "fem"), *random_rows([1, 2], methods=("gradcam", "fem"))]
    rows[2:4] = [type(row)(**{**vars(row), "status": "no positive evidence"}) for row in rows[2:4]]
    record = write_rows(tmp_path, 0, rows)
    assert record.failures == {"unreadable": 1}
    assert record.remarks == {"no positive evidence": 2}
    assert record.rows == 6


def test_two_writers_of_one_shard_leave_one_whole_shard(tmp_path: Path) -> None:
    """Of the same rows, and of rows that differ in rounding."""
    folder = make_store(tmp_path / "store", 0)
    start = threading.Barrier(4)

    def write(seed: int) -> None:
        start.wait()
        for _ in range(10):
            write_rows(folder, 0, random_rows(range(8), seed=seed))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in (0, 0, 1, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(camtool.store.open(folder))) == 8
    assert len(manifest(folder)[0]) == 2
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "maps-000000.parquet", "run.json"]
    assert not [path for path in (folder / MANIFEST).iterdir() if path.name.startswith(".")]


def test_the_first_description_of_a_run_stays(tmp_path: Path) -> None:
    described = [{"fingerprint": {"of": number}, "samples": 3, "shard_size": 64} for number in range(2)]
    assert [write_run(tmp_path / "store", one)["fingerprint"] for one in described] == [{"of": 0}, {"of": 0}]
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["run.json"]


def _a_file(path: Path) -> None:
    path.write_text("maps")


def _empty(path: Path) -> None:
    path.mkdir()


def _of_others(path: Path) -> None:
    path.mkdir()
    (path / "maps-000000.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize("make", [_a_file, _empty, _of_others, lambda _: None])
def test_what_is_no_store_is_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "store")
    with pytest.raises(DataError, match="camtool run … --out"):
        camtool.store.open(tmp_path / "store")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"fingerprint": {}, "samples": 3}',
        '{"fingerprint": {}, "samples": -3, "shard_size": 64}',
        '{"fingerprint": {}, "samples": 3, "shard_size": 0}',
        '{"fingerprint": {}, "samples": "3", "shard_size": 64}',
        '{"fingerprint": [], "samples": 3, "shard_size": 64}',
        '{"fingerprint": {}, "samples": true, "shard_size": 64}',
        "\x00",
    ],
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json' (cannot be read|does not describe a run)"):
        camtool.store.open(tmp_path)


def test_a_folder_of_others_becomes_no_store(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="has files in it"):
        check_folder(tmp_path)
    (tmp_path / "notes.txt").rename(tmp_path / ".notes")
    check_folder(tmp_path)


def test_what_is_left_is_found_without_opening_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million samples, in shards of the default size."""
    per_shard = 2000
    description = {"fingerprint": {}, "samples": 1_000_000, "shard_size": per_shard}
    (tmp_path / "run.json").write_text(json.dumps(description))
    done = [number for number in range(1_000_000 // per_shard) if number % 3]
    for number in done:
        shard_path(tmp_path, number).touch()
    store = camtool.store.open(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a file is opened")

    for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "stat"), (os, "lstat"), (os.path, "getsize")):
        monkeypatch.setattr(module, name, refuse)
    try:
        shards, complete = store.shards, store.is_complete
    finally:
        monkeypatch.undo()
    assert shards == done
    assert not complete
