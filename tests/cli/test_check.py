"""`camtool check`: requirements that are met or not, by the mean or by each sample, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from camtool.store import open as open_store
from tests.cli import evaluated
from tests.cli.evaluated import disc, write
from tests.cli.fixtures import Run

store = evaluated.store

CHECK = ("check", "c.py", "--data", "data", "--masks", "masks")


def test_a_requirement_that_is_met(run: Run, store: Path) -> None:
    finished = run(*CHECK, "--require", "iou >= 0.5", "ioa > 0.1")

    assert finished.exit_code == 0, finished.stderr
    assert [line.split(";")[0] for line in finished.stdout.splitlines() if "met" in line] == ["met: iou >= 0.5", "met: ioa > 0.1"]


def test_a_requirement_that_is_not_met_names_the_samples(run: Run, store: Path, tmp_path: Path) -> None:
    write(tmp_path / "masks/r/4.png", 255 * disc((2, 2), 2))  # the network looks at the disc, which is elsewhere
    before = sorted(tmp_path.rglob("*"))

    mean = run(*CHECK, "--require", "iou >= 0.99")
    each = run(*CHECK, "--require", "iou >= 0.5", "--each", "--json")
    of_mean = run(*CHECK, "--require", "iou >= 0.5")

    assert mean.exit_code == 1
    assert "NOT met: iou >= 0.99" in mean.stdout
    assert each.exit_code == 1
    (entry,) = json.loads(each.stdout)["requirements"]
    assert [(sample["path"], sample["score"]) for sample in entry["samples"]] == [("g/11.png", None), ("r/4.png", 0.0)]
    assert of_mean.exit_code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_requirement_is_of_the_metric_as_it_is_set(run: Run, store: Path) -> None:
    required = (*CHECK, "--require", "iou >= 0.5", "--set")

    assert run(*required, "iou.threshold=0.4").exit_code == 0
    assert run(*required, "iou.threshold=0.99").exit_code == 1
    refused = run(*required, "ioa.threshold=0.4")
    assert refused.exit_code == 2
    assert "No setting 'ioa.threshold'; closest: 'iou.threshold'" in refused.stderr


def test_random_weights_are_those_of_the_seed(run: Run, store: Path, tmp_path: Path) -> None:
    drawn = (*("eval", "c.py", "--data", "data", "--masks", "masks", "--metrics", "deletion"), "--random-weights", "--limit", 2, "--seed")

    for seed, name in ((3, "a"), (3, "b"), (4, "c")):
        assert run(*drawn, seed, "--out", name).exit_code == 0

    weights = [open_store(tmp_path / name / "maps").run["fingerprint"]["checkpoint"] for name in "abc"]
    assert weights[0] == weights[1] != weights[2]


def test_a_sample_without_a_score_is_not_met_by_itself(run: Run, store: Path) -> None:
    options = ("check", "c.py", "--data", "data", "--masks", "masks", "--require", "iou >= 0.5")

    each, mean = run(*options, "--each", "--json"), run(*options)

    assert (each.exit_code, mean.exit_code) == (1, 0)
    (entry,) = json.loads(each.stdout)["requirements"]
    assert entry["samples"] == [{"path": "g/11.png", "maps": "gradcam at layer", "score": None}]
    assert "1 without a score" in mean.stdout


WRONG_CHECKS: dict[str, tuple[tuple[Any, ...], str]] = {
    "no data": (("check", "c.py", "--require", "iou >= 0.5"), "Expected --data DATA, and --require CONDITION"),
    "no condition": (("check", "c.py", "--data", "data"), "Expected --data DATA, and --require CONDITION"),
    "no comparison": ((*CHECK, "--require", "iou 0.5"), "Expected a requirement such as 'energy >= 0.5', got 'iou 0.5'"),
    "no number": ((*CHECK, "--require", "iou >= ."), "Expected a requirement such as"),
    "no finite number": ((*CHECK, "--require", "iou >= 1e999"), "Expected a requirement such as"),
    "no such metric": ((*CHECK, "--require", "iuo >= 0.5"), "No metric 'iuo'"),
    "no masks": (("check", "c.py", "--data", "data", "--require", "iou >= 0.5"), "give --masks DIR"),
    "no such data": (("check", "c.py", "--data", "none", "--masks", "masks", "--require", "iou >= 0.5"), "none"),
    "no such method": ((*CHECK, "--require", "iou >= 0.5", "--method", "gradcm"), "gradcm"),
    "code": ((*CHECK, "--require", "__import__('os') >= 1"), "Expected a requirement such as"),
}


@pytest.mark.parametrize("case", WRONG_CHECKS)
def test_wrong_checks(run: Run, store: Path, tmp_path: Path, case: str) -> None:
    options, message = WRONG_CHECKS[case]
    before = sorted(tmp_path.rglob("*"))

    finished = run(*options)

    assert finished.exit_code == 2, finished.stdout
    assert message in " ".join(finished.stderr.split())
    assert sorted(tmp_path.rglob("*")) == before
