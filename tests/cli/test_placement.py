"""`--placement`, a recipe's `cam.placement`, and `camtool cache`."""

import json
from pathlib import Path

import pytest

from camtool import Explainer
from tests.cli.fixtures import CAT, LAST, LITE0, Run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/placements"


def recipe(folder: Path, placement: str) -> Path:
    path = folder / "recipe.py"
    path.write_text(f"_base_ = {LITE0!r}\ncam = dict(placement={placement})\n")
    return path


def test_a_measured_placement_is_reported_kept_shown_and_cleared(run: Run, cache: Path) -> None:
    (place,) = run("vis", CAT, LITE0, "--placement", "measured", "--target-layers", LAST, "--json").report["placement"].values()
    assert place["scale"] == [32, 32]
    assert place["source"].startswith(("measured", "even: the measured shift of"))
    (file,) = cache.iterdir()
    shown = run("cache", "--json").report
    assert shown["folder"] == str(cache)
    (entry,) = shown["placements"]
    assert (entry["size"], entry["layer"], entry["source"]) == ([224, 224], LAST, place["source"])
    assert LAST in run("cache").stdout
    kept = file.read_bytes()
    run("vis", CAT, LITE0, "--placement", "measured", "--target-layers", LAST)
    assert file.read_bytes() == kept
    assert run("cache", "--clear").stdout == f"Removed 1 file of {cache}.\n"
    assert run("cache", "--json").report["placements"] == []


def test_a_damaged_file_is_named(run: Run, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "a.json").write_text("{")
    assert "is no file of kept placements" in run("cache").stderr
    assert json.loads(run("cache", "--json").stdout)["unreadable"]


def test_a_recipe_states_a_placement_and_the_option_overrides_it(run: Run, tmp_path: Path) -> None:
    path = recipe(tmp_path, "dict(scale=(32, 32), offset=[0, 8])")
    (place,) = run("vis", CAT, path, "--json").report["placement"].values()
    assert place == {"scale": [32, 32], "offset": [0, 8], "source": "given"}
    (place,) = run("vis", CAT, path, "--placement", "even", "--json").report["placement"].values()
    assert place == {"scale": [32, 32], "offset": [15.5, 15.5], "source": "even"}
    assert not (tmp_path / "cache").exists()


def test_concepts_take_it_too(run: Run, tmp_path: Path) -> None:
    report = run("vis", CAT, recipe(tmp_path, "dict(scale=32, offset=0)"), "--method", "dff", "--json").report
    assert [place["offset"] for place in report["placement"].values()] == [[0, 0]]


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        ("'measure'", "Unknown placement 'measure'; closest: 'measured'"),
        ("3", "'cam.placement' of config"),
        ("dict(scale=32)", "Expected a placement of"),
        ("dict(scale=(1, 2, 3), offset=0)", "of 2 spatial axes"),
        (f"{{{LAST!r}: dict(scale=0, offset=0)}}", "scales, above 0"),
    ],
)
def test_what_is_no_placement_is_refused(run: Run, tmp_path: Path, placement: str, said: str) -> None:
    finished = run("vis", CAT, recipe(tmp_path, placement))
    assert finished.exit_code == 2
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


def test_an_option_that_is_no_placement_is_refused(run: Run) -> None:
    finished = run("vis", CAT, LITE0, "--placement", "best")
    assert finished.exit_code == 2
    assert "expected one of: even, measured" in finished.stderr


def test_an_explainer_takes_a_placement() -> None:
    explanation = Explainer(LITE0, placement={"scale": 32, "offset": 31})(CAT)
    assert [place["source"] for place in explanation.placement.values()] == ["given"]
