"""`tools/sweep_backbones.py` and its sub-command `sweep`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from camtool.benchmark import coverage
from camtool.benchmark.backbones import BACKBONES, Example
from camtool.benchmark.coverage import FAILED, OK, REFUSED, BackboneResult
from camtool.cli import console
from camtool.cli.sweep import MARKERS
from camtool.instrumentation.layer_layouts import MEASURED
from tests.cli.fixtures import Run

BEGIN, END = MARKERS


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """No network is built: every backbone gives a map at its first size and refuses the others, unless the status is set here."""
    statuses: dict[str, str] = {}

    def made(name: str, example: Example, *, narrow: bool = True) -> Iterator[BackboneResult]:
        for size in example.sizes:
            status = statuses.get(name, OK if size == example.sizes[0] else REFUSED)
            found = ("backbone.last[-1]", "NLC", 1, 1.0, "replay") if status == OK else ("", "", 0, 0.0, "")
            yield BackboneResult(
                name,
                example.config,
                size,
                status,
                "" if status == OK else "ValueError: [no] way",
                *found,
                seconds=1.0,
                evidence=MEASURED if status == OK else "",
            )

    monkeypatch.setattr(coverage, "sweep", made)
    return statuses


def test_a_real_network_is_measured_and_the_table_is_a_result_while_progress_is_not(run: Run) -> None:
    finished = run("sweep", "--filter", "PoolFormer")

    assert finished.exit_code == 0
    rows = [line.split() for line in finished.stdout.splitlines()]
    assert rows[0][:6] == ["backbone", "config", "input", "axes", "extra", "gradient"]
    assert rows[1][:7] == ["PoolFormer", "poolformer/poolformer-s12_32xb128_in1k", "224x224", "NCHW", "0", "100", "%"]
    assert rows[2][2] == "256x320"
    assert [row[-2:] for row in rows[1:]] == [["ok", "backbone.norm6"]] * 2
    assert "PoolFormer" not in finished.stderr


def test_in_a_narrow_terminal_the_configs_are_left_out_and_nothing_is_cut(
    run: Run, measured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "WIDTH_WITHOUT_TERMINAL", 80)
    printed = run("sweep", "--filter", "DistilledVisionTransformer").stdout

    assert "deit/" not in printed
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80
    assert "DistilledVisionTransformer" in "".join(line.split("  ")[0].strip() for line in printed.splitlines())
    assert "…" not in printed


@pytest.mark.parametrize("text", ["RegNet", "regnetX-400"])
def test_filter_looks_at_class_and_config_in_any_case(run: Run, measured: dict[str, str], text: str) -> None:
    lines = run("sweep", "--filter", text).stdout.splitlines()[1:]

    assert {line.split()[0] for line in lines} == {"RegNet"}


def test_a_filter_without_a_match_names_the_choices(run: Run) -> None:
    finished = run("sweep", "--filter", "resnett")

    assert finished.exit_code == 2
    assert "No backbone of the zoo has 'resnett' in its class or config; expected one of: AlexNet, BEiTViT" in finished.stderr


def test_a_backbone_without_a_map_is_an_error_of_its_own_exit_code(run: Run, measured: dict[str, str], tmp_path: Path) -> None:
    measured["VGG"] = FAILED
    finished = run("sweep", "--json-file", "out/sweep.json")

    assert finished.exit_code == 1
    assert "Error: no map of VGG." in finished.stderr
    assert any(line.split()[-4:] == ["failed", "ValueError:", "[no]", "way"] for line in finished.stdout.splitlines())
    written = json.loads((tmp_path / "out/sweep.json").read_text())["backbones"]
    assert {one["backbone"] for one in written} == BACKBONES.keys()
    assert [one["size"] for one in written if one["backbone"] == "LeNet5"] == [[224, 224], [256, 320], [32, 32]]
    assert {one["status"] for one in written if one["backbone"] == "VGG"} == {FAILED}


def test_markdown_replaces_what_stands_between_the_markers_and_nothing_else(run: Run, measured: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter ×\n", encoding="utf-8")

    assert run("sweep", "--markdown", file).exit_code == 0

    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    assert (before, after) == ("before\n", "\nafter ×\n")
    assert "old" not in table
    assert "| VGG | `backbone.last[-1]` | NLC + 1 | measured | yes | the network refuses |" in table


@pytest.mark.parametrize("content", ["no markers", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"])
def test_a_file_without_the_two_markers_is_refused_before_any_work_and_left_as_it_was(run: Run, tmp_path: Path, content: str) -> None:
    file = tmp_path / "README.md"
    file.write_text(content)

    finished = run("sweep", "--markdown", file)

    assert finished.exit_code == 2
    assert f"must have the line '{BEGIN}' once" in finished.stderr
    assert file.read_text() == content


def test_what_cannot_be_written_is_refused_before_any_work(run: Run, tmp_path: Path) -> None:
    for arguments, words in [
        (["--json-file", tmp_path], "is a directory"),
        (["--markdown", tmp_path / "none.md"], "Cannot read"),
        (["--markdown", "README.md", "--filter", "vit"], "leave --filter out"),
    ]:
        finished = run("sweep", *arguments)
        assert finished.exit_code == 2
        assert words in finished.stderr


def test_json_is_a_flag_and_the_file_holds_the_same(run: Run, measured: dict[str, str], tmp_path: Path) -> None:
    finished = run("sweep", "--filter", "conformer", "--json", "--json-file", "sweep.json")
    assert finished.report == json.loads((tmp_path / "sweep.json").read_text())
    assert {result["backbone"] for result in finished.report["backbones"]} == {"Conformer"}
