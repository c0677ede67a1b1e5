"""`camtool compare`: the table, the sheet, the file, and what is refused in one line."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

import camtool.store
from camtool.store.schema import Row
from camtool.visualization.captioned_sheet import WIDTH
from tests.cli.fixtures import Run, pixels
from tests.store.made import make_picture_store, make_store, random_rows


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two stores of the same ten pictures; the map of sample 3 is another one in the second."""
    first = make_picture_store(tmp_path / "a", tmp_path / "data", 10)
    written = {row["id"]: row for row in camtool.store.open(first)}

    def rows(samples: Sequence[int]) -> list[Row]:
        found = []
        for row in random_rows(samples):
            same = written[row.id]
            placed = dataclasses.replace(row, digest=same["digest"], geometry=tuple(same["geometry"]))
            assert placed.map is not None
            found.append(dataclasses.replace(placed, map=-placed.map, predicted=2) if row.id == 3 else placed)
        return found

    return first, make_store(tmp_path / "b", 10, 8, rows=rows, root=str(tmp_path / "data"))


def test_compare_prints_classes_and_the_samples_that_moved_most(run: Run, folders: tuple[Path, Path]) -> None:
    done = run("compare", *folders, "--limit", 2)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert " ".join(lines[0].split()) == "class samples agreement accuracy A accuracy B rank correlation energy distance"
    assert [line.split()[0] for line in lines[1:6]] == ["all", "cat", "dog", "fox", "not"]
    assert "cat/00003.png" in lines[8]
    assert "only in A: 0, only in B: 0" in done.stderr


def test_compare_as_json_and_as_a_file_and_a_sheet(run: Run, folders: tuple[Path, Path]) -> None:
    report = run("compare", *folders, "--json", "--csv", "table.csv", "-o", "moved.png", "--limit", 2).report
    assert report["outputs"] == ["moved.png", "table.csv"]
    assert [row["samples"] for row in report["classes"]] == [10, 3, 3, 3, 1]
    assert report["classes"][0]["agreement"] == 0.9
    assert report["classes"][-1]["accuracy A"] is None
    assert report["moved"][0]["path"] == "cat/00003.png"
    assert report["moved"][0]["rank correlation"] == pytest.approx(-1)
    with Path("table.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["class"] for line in lines] == ["all", "cat (0)", "dog (1)", "fox (2)", "not known"]
    assert float(lines[1]["agreement"]) == pytest.approx(2 / 3)
    assert pixels("moved.png").shape[1] == 2 * WIDTH + 3 * 8


def test_compare_takes_a_method_of_each(run: Run, tmp_path: Path) -> None:
    both = make_store(tmp_path / "both", 6, rows=lambda samples: random_rows(samples, methods=("gradcam", "fem")))
    one = make_store(tmp_path / "one", 6)
    done = run("compare", both, one)
    assert done.exit_code == 2
    assert "has maps of gradcam at features.7, fem at features.7; choose one" in done.stderr
    assert run("compare", both, one, "--method", "fem", "--json").report["classes"][0]["samples"] == 6
    assert run("compare", both, both, "--method", "fem", "--other-method", "gradcam", "--json").report["classes"][0]["samples"] == 6


def test_what_cannot_be_compared_is_one_line(run: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    for arguments in ((folders[0], tmp_path), (*folders, "--method", "fme"), (*folders, "-o", "x.xyz"), (*folders, "--csv", tmp_path)):
        done = run("compare", *arguments)
        assert done.exit_code == 2
        assert len(done.stderr.splitlines()) == 1
    assert not Path("x.xyz").exists()
