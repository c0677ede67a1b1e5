"""Two runs into one store at once, and classes that are called as the words for a choice of classes."""

import os
from pathlib import Path

import pytest

import camtool.store
from camtool.apis import Explainer
from camtool.runs import run
from tests.runs import tiny
from tests.runs.killed import started
from tests.runs.test_processes import assert_same_store


@pytest.mark.parametrize("workers", [0, 1])
def test_two_runs_into_one_store_at_once_are_harmless(tmp_path: Path, workers: int) -> None:
    data = tiny.pictures(tmp_path / "data", 200)
    run(tiny.explainer(tmp_path), data, tmp_path / "alone", threads=1)

    twins = [started(tmp_path, data, tmp_path / "out", workers, 0, 1) for _ in range(2)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in twins]

    assert codes == [0, 0]
    assert_same_store(tmp_path / "out", tmp_path / "alone")


def test_a_class_named_as_a_choice_of_classes_is_taken_by_its_name(tmp_path: Path) -> None:
    data, config = tiny.pictures(tmp_path / "data", 3), tmp_path / "named.py"
    config.write_text(tiny.CONFIG.replace('["first", "second", "third"]', '["all", "label", "predicted"]'))
    for name, classes in (("all", [0]), ("label", [1]), ("predicted", [2])):
        run(Explainer(config), data / "first", tmp_path / name, categories=f"name:{name}")
        assert [row["target"] for row in camtool.store.open(tmp_path / name)] == classes
    run(Explainer(config), data / "first", tmp_path / "every", categories="all")
    assert [row["target"] for row in camtool.store.open(tmp_path / "every")] == [0, 1, 2]
