"""`camtool run`, as it is typed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import camtool.store
from camtool.cli.main import app
from tests.runs import tiny


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a config and pictures."""
    tiny.config(tmp_path)
    tiny.pictures(tmp_path / "data", 5)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(line: str) -> Result:
    return CliRunner().invoke(app, ["run", *line.split()])


def test_the_last_line_says_how_many_could_not_be_explained(folder: Path) -> None:
    (folder / "data/first/00000.png").write_bytes(b"nothing")
    result = typed("tiny.py --data data --out maps --workers 0")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith("maps: 5 of 5 samples (5 made now, in ")
    assert result.stdout.splitlines()[-1].endswith("; 1 could not be explained.")
    assert "1 sample: unreadable." in result.stderr
    assert [row["status"] for row in camtool.store.open("maps")].count("unreadable") == 1


def test_json_is_one_object(folder: Path) -> None:
    result = typed("tiny.py --data data --out maps --workers 0 --half --importances --target-category label predicted --json")
    report = json.loads(result.stdout)
    assert (report["samples"], report["made"], report["missing"], report["failures"]) == (5, 5, 0, {})
    again = json.loads(typed("tiny.py --data data --out maps --half --importances --target-category label predicted --json").stdout)
    assert again["made"] == 0
    table = camtool.store.open("maps").table()
    assert {"scale", "importances"} <= set(table.column_names)


def test_the_training_data_set_of_a_config_is_explained_in_order(folder: Path) -> None:
    text = (folder / "tiny.py").read_text().replace("with_weights", "kwargs=dict(classes=6), with_weights")
    text = text.replace('classes=["first", "second", "third"]', "")
    for split in ("train", "val"):
        dataset = f'dict(type="camtool.Shapes", split="{split}", count=12)'
        text += f'\n{split}_dataloader = dict(dataset={dataset}, sampler=dict(type="DefaultSampler", shuffle=True))\n'
    (folder / "with_data.py").write_text(text)

    result = typed("with_data.py --data config:train --out maps --workers 0 --method gradcam --target-category label --limit 3")

    assert result.exit_code == 0, result.output
    rows = list(camtool.store.open("maps"))
    assert [row["path"] for row in rows] == ["train 0", "train 1", "train 2"]
    assert [row["target"] for row in rows] == [row["label"] for row in rows]
    assert typed("with_data.py --data config:val --out of_val --workers 0 --method gradcam --limit 3").exit_code == 0
    assert {row["digest"] for row in camtool.store.open("of_val")}.isdisjoint(row["digest"] for row in rows)


needs_compiler = pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="torch.compile needs a C++ compiler")


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [("--amp bf16", 0.05), pytest.param("--compile", 1e-4, marks=[pytest.mark.slow, needs_compiler])],
    ids=["amp", "compile"],
)
def test_an_accelerated_run_has_nearly_the_same_maps_and_goes_on_as_such(
    folder: Path, options: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, compile_ = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, **settings: compiled.append(forward) or compile_(forward, **settings))
    command = "tiny.py --data data --workers 0 --method gradcam --target-layers body[3]"
    assert typed(f"{command} --out plain").exit_code == 0

    result = typed(f"{command} --out fast {options}")

    assert result.exit_code == 0, result.output
    plain, fast = list(camtool.store.open("plain")), list(camtool.store.open("fast"))
    assert [row["predicted"] for row in fast] == [row["predicted"] for row in plain]
    scale = max(float(row.map.abs().amax()) for row in plain)
    for found, expected in zip(fast, plain, strict=True):
        torch.testing.assert_close(found.map, expected.map, rtol=0, atol=tolerance * scale)
    differs = any(not torch.equal(found.map, expected.map) for found, expected in zip(fast, plain, strict=True))
    assert compiled if "--compile" in options else differs, "it was not accelerated"
    assert json.loads(typed(f"{command} --out fast {options} --json").stdout)["made"] == 0
    assert "changed: " in typed(f"{command} --out fast").stderr


WRONG = {
    "tiny.py": "Expected --data DATA",
    "tiny.py --data data": "--out DIR",
    "tiny.py --data nowhere --out maps": "No data set 'nowhere'",
    "tiny.py --data dat --out maps": "closest: 'data'",
    "tiny.py --data config:val --out maps": "has no data set for the split 'val'",
    "tiny.py --data data --out data": "is no store, but has files in it",
    "tiny.py --data data --out tiny.py": "is a file",
    "tiny.py --data data --out maps --target-category fourth": "No class 'fourth'",
    "tiny.py --data data --out maps --target-category 3": "out of range",
    "tiny.py --data data --out maps --method gradcan": "gradcam",
    "tiny.py --data data --out maps --target-layers body[9]": "body",
    "tiny.py --data data --out maps --launcher pytorch": "torchrun --nproc-per-node=2 tools/run_cam.py",
    "tiny.py --data data --out maps --launcher torch": "Unknown launcher",
    "tiny.py --data data --out maps --batch-size 0": "batch-size",
    "tiny.py --data data --out maps --limit none": "'none'",
    "tiny.py --data data --out maps --amp fp8": "fp8",
    "tiny.py --data tiny.py --out maps": "is no data set",
    "no.py --data data --out maps": "no.py",
}


@pytest.mark.parametrize("line", WRONG)
@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_a_wrong_line_is_one_error_and_no_store(folder: Path, line: str, as_json: bool) -> None:
    before = sorted(folder.rglob("*"))
    result = typed(f"{line} --workers 0{' --json' if as_json else ''}")
    assert result.exit_code == 2, result.output
    assert WRONG[line] in result.stderr
    assert "Traceback" not in result.output
    assert [text for text in result.stderr.splitlines() if text.startswith("Error: ")] == result.stderr.splitlines()[-1:]
    if as_json:
        assert WRONG[line] in json.loads(result.stdout)["error"]
    assert sorted(folder.rglob("*")) == before


def test_what_was_changed_is_named(folder: Path) -> None:
    assert typed("tiny.py --data data --out maps --workers 0").exit_code == 0
    before = {path: path.read_bytes() for path in (folder / "maps").rglob("*") if path.is_file()}
    result = typed("tiny.py --data data --out maps --workers 0 --method layercam --batch-size 4")
    assert result.exit_code == 2
    assert "methods.layercam" in result.stderr
    assert "batch_size: 4 instead of 8" in result.stderr
    assert {path: path.read_bytes() for path in (folder / "maps").rglob("*") if path.is_file()} == before
