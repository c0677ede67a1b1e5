"""What `camtool eval` refuses: a line, exit code 2, and nothing left behind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtool.store import open as open_store
from tests.cli import evaluated
from tests.cli.evaluated import SIZE, WITH_MASKS, coco, write
from tests.cli.fixtures import Run

store = evaluated.store


WRONG: dict[str, tuple[tuple[Any, ...], str]] = {
    "no network": (("--metrics", "deletion"), "runs the network again; give --config CONFIG"),
    "a step of none": (("--metrics", "deletion", "--config", "c.py", "--set", "deletion.step=0"), "No map has a score"),
    "a substrate of none": (("--metrics", "deletion", "--config", "c.py", "--set", "deletion.substrate=blurr"), "blur"),
    "no metric": (("--metrics", "iuo"), "No metric 'iuo'; closest: 'iou'"),
    "no masks": (("--metrics", "iou", "--config", "c.py"), "compares maps with masks; give --masks DIR"),
    "no config": (("--metrics", "iou", "--masks", "masks"), "give --masks DIR and --config CONFIG"),
    "no such folder": (("--metrics", "iou", "--masks", "none", "--config", "c.py"), "No folder 'none'; expected one of masks"),
    "an empty folder": (("--metrics", "iou", "--masks", "empty", "--config", "c.py"), "has no file; expected masks"),
    "no such setting": (("--metrics", "iou", *WITH_MASKS, "--set", "iou.level=1"), "No setting 'iou.level'; closest: 'iou.threshold'"),
    "no setting": (("--metrics", "iou", *WITH_MASKS, "--set", "iou"), "Expected --set KEY=VALUE, got 'iou'"),
    "a setting of none": (("--metrics", "iou", *WITH_MASKS, "--set", "iou.threshold=2"), "No map has a score"),
    "no such method": (("--metrics", "iou", *WITH_MASKS, "--method", "scorecam"), "has no maps of the method 'scorecam'"),
    "masks and annotations": ((*("--metrics", "iou"), *WITH_MASKS, "--annotations", "x", "--annotations-kind", "coco"), "got both"),
    "annotations of no kind": (("--metrics", "iou", "--config", "c.py", "--annotations", "c.py"), "--annotations-kind KIND"),
    "no such kind": (
        ("--metrics", "iou", "--config", "c.py", "--annotations", "c.py", "--annotations-kind", "coca"),
        "No annotations of the kind 'coca'; closest: 'coco'",
    ),
    "no such rule": (
        ("--metrics", "iou", "--config", "c.py", "--annotations", "masks", "--annotations-kind", "masks", "--objects", "each"),
        "Expected the rule of several objects as union or largest",
    ),
    "annotations that are none": (
        ("--metrics", "iou", "--config", "c.py", "--annotations", "c.py", "--annotations-kind", "coco"),
        "c.py",
    ),
    "fractions that fall": (
        ("--metrics", "road", "--config", "c.py", "--set", "road.fractions=[0.5,0.2]"),
        "Expected fractions above 0 and below 1 that grow",
    ),
    "no changes": (
        ("--metrics", "max-sensitivity", "--config", "c.py", "--set", "max-sensitivity.samples=0"),
        "Expected at least 1 of the changes, got 0",
    ),
    "empty masks": (("--metrics", "pointing", "--masks", "black", "--config", "c.py"), "got an empty one of"),
    "masks of another size": (("--metrics", "energy", "--masks", "larger", "--config", "c.py"), "its picture 32x32; expected one size"),
    "masks that are no pictures": (("--metrics", "energy", "--masks", "words", "--config", "c.py"), "is not an image"),
    "a checkpoint of none": (("--metrics", "deletion", "--config", "c.py", "--checkpoint", "none.pth"), "No checkpoint 'none.pth'"),
    "into the store": (("--metrics", "iou", *WITH_MASKS, "--out", "store/x"), "is in the store"),
    "masks of others": (("--metrics", "iou", "--masks", "data", "--config", "none.py"), "none.py"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_evaluations(run: Run, store: Path, tmp_path: Path, case: str) -> None:
    options, message = WRONG[case]
    (tmp_path / "empty").mkdir()
    for name in (path.relative_to(tmp_path / "data") for path in (tmp_path / "data").rglob("*.png")):
        write(tmp_path / "black" / name, np.zeros((SIZE, SIZE), np.uint8))
        write(tmp_path / "larger" / name, np.full((40, 40), 255, np.uint8))
        (tmp_path / "words" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "words" / name).write_text("no picture")
    before = sorted(path for path in store.rglob("*"))

    finished = run("eval", store, *options)

    assert finished.exit_code == 2, finished.stdout
    assert message in " ".join(finished.stderr.split())
    assert finished.stderr.count("Error") == 1
    assert len(finished.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "store-eval").exists(), "nothing is left that would stand in the way of the right command"
    assert sorted(path for path in store.rglob("*")) == before


def test_scores_that_are_there_stay_where_others_are_none(run: Run, store: Path, tmp_path: Path) -> None:
    assert run("eval", store, "--metrics", "iou", *WITH_MASKS).exit_code == 0

    wrong = run("eval", store, "--metrics", "deletion", "--config", "c.py", "--set", "deletion.step=0")
    right = run("eval", store, "--metrics", "deletion", "--config", "c.py", "--set", "deletion.step=200")

    assert wrong.exit_code == 2
    assert right.exit_code == 0, right.stderr
    assert (tmp_path / "store-eval/iou/scores-000000.parquet").is_file()


def test_objects_may_be_named_by_the_number_of_the_class(run: Run, store: Path, tmp_path: Path) -> None:
    rows = {row["path"]: row["target"] for row in open_store(store).where(method="gradcam")}
    coco(tmp_path / "numbers.json", {path: [(str(target), [4.0, 4.0, 20.0, 20.0])] for path, target in rows.items()})

    finished = run("eval", store, "--metrics", "energy", "--config", "c.py", "--annotations", "numbers.json", "--annotations-kind", "coco")

    assert finished.exit_code == 0, finished.stderr


def test_a_network_that_explains_nothing_says_why(run: Run, store: Path, tmp_path: Path) -> None:
    (tmp_path / "nan.py").write_text((tmp_path / "net.py").read_text().replace("return 8 *", "return float('nan') *"))
    (tmp_path / "n.py").write_text((tmp_path / "c.py").read_text().replace("net.py", "nan.py"))

    live = run("eval", "n.py", "--data", "data", "--metrics", "sparseness", "--out", "live")
    checked = run("check", "n.py", "--data", "data", "--masks", "masks", "--require", "energy >= 0.5")

    for finished in (live, checked):
        assert finished.exit_code == 2
        assert "No sample could be explained; 'g/1.png': NaN: The network's scores are NaN" in finished.stderr


def test_a_folder_that_is_no_store(run: Run, tmp_path: Path) -> None:
    finished = run("eval", tmp_path, "--metrics", "iou")

    assert finished.exit_code == 2
    assert "is no store" in finished.stderr


def test_a_damaged_file_of_scores_is_named(run: Run, store: Path, tmp_path: Path) -> None:
    assert run("eval", store, "--metrics", "iou", *WITH_MASKS).exit_code == 0
    (tmp_path / "store-eval/iou/scores-000000.parquet").write_bytes(b"no parquet")

    finished = run("eval", store, "--metrics", "iou", *WITH_MASKS)

    assert finished.exit_code == 2
    assert "scores-000000.parquet' cannot be read" in finished.stderr
    assert "Remove it" in finished.stderr


def test_reasons_that_name_their_pictures_are_one_warning(run: Run, store: Path, tmp_path: Path) -> None:
    for number in (0, 2, 4):
        path = tmp_path / f"masks/r/{number}.png"
        write(path, np.zeros((SIZE, SIZE), np.uint8))

    finished = run("eval", store, "--metrics", "iou", *WITH_MASKS, "--method", "gradcam")

    words = " ".join(finished.stderr.split())
    assert finished.exit_code == 0
    assert words.count("Warning:") == 1
    assert "4 of 12 maps of gradcam at layer have no iou: " in words
    assert "Other reasons, 2 in all, stand in the scores' column 'reason'." in words
