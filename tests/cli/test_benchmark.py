"""`tools/benchmark.py` and its sub-command `benchmark`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from camtool.benchmark import timing as room
from camtool.benchmark.agreement import Agreement
from camtool.benchmark.cases import CASES, Case
from camtool.benchmark.timing import FAILED, OK, CaseResult, Effort, Timing
from camtool.cli.benchmark import _turns
from camtool.cli.markers import markers
from tests.cli.fixtures import ROOT, Run

BEGIN, END = markers("benchmark cpu")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Nothing is run: every case takes 1.5 forwards, unless something else of it is set here."""
    changes: dict[str, dict[str, Any]] = {}

    def made(case: Case, subject: Callable[[], object], effort: Effort, device: str, *, in_time: bool = True) -> CaseResult:
        given = (case.name, case.row, case.network, case.batch, case.unit, case.asked)
        status = {"status": OK if in_time else room.OUT_OF_TIME} | changes.get(case.name, {})
        if status["status"] != OK:
            return CaseResult(*given, **status)
        timings = {"forward": Timing(0.05, 1.0, 1.0, 1.0, 5), "camtool": Timing(0.06, 1.5, 1.4, 1.6, 5)}
        cost = {"memory": {"forward": 10, "camtool": 15}} if case.unit == "of the forward's memory" else {"timings": timings}
        return CaseResult(*given, reached=1.5, **cost, **status)

    monkeypatch.setattr(room, "measure", made)
    return changes


def test_a_tiny_network_is_measured_and_the_tables_are_results_while_progress_is_not(run: Run) -> None:
    finished = run("benchmark", "--quick", "--model", "tiny", "--filter", "gradcam tiny 1", "--json-file", "out/benchmark.json")

    assert finished.exit_code == 0, finished.stderr
    assert finished.stderr == ""
    assert "case" in finished.stdout
    assert "Asked and reached:" in finished.stdout
    assert "pytorch-grad-cam 1e-0" in finished.stdout or "pytorch-grad-cam 2e-0" in finished.stdout
    written = json.loads(Path("out/benchmark.json").read_text())
    assert [one["case"] for one in written["measured"]] == ["gradcam tiny 1", "xgradcam tiny 1", "eigengradcam tiny 1"]
    assert {one["status"] for one in written["measured"]} == {"ok"}
    assert {one["asked"] for one in written["measured"]} == {None}


def test_every_case_of_a_tiny_network_runs_or_says_that_it_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FULL", Effort(rounds=1, seconds=0.0))

    finished = run("benchmark", "--model", "tiny", "--json-file", "all.json")

    assert finished.exit_code == 0, finished.stderr
    assert {one["status"] for one in json.loads(Path("all.json").read_text())["measured"]} <= {"ok", "not there yet"}


def test_quick_has_some_of_the_cases_and_a_filter_fewer(run: Run, measured: dict[str, dict[str, Any]]) -> None:
    run("benchmark", "--json-file", "full.json")
    run("benchmark", "--quick", "--json-file", "quick.json")
    run("benchmark", "--model", "vit_b_16", "--filter", "CLASSES", "--json-file", "few.json")

    full, quick, few = (json.loads(Path(f"{name}.json").read_text())["measured"] for name in ("full", "quick", "few"))
    assert [one["case"] for one in full] == [case.name for case in CASES]
    assert [one["case"] for one in quick] == [case.name for case in CASES if case.quick]
    assert 0 < len(quick) < len(full)
    assert [one["case"] for one in few] == ["gradcam 10 classes vit_b_16 1", "gradcam 10 classes vit_b_16 8"]


def test_a_quick_run_starts_nothing_after_its_time(run: Run, measured: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "QUICK_SECONDS", 0.0)

    finished = run("benchmark", "--quick", "--filter", "gradcam resnet50")
    assert finished.exit_code == 0
    assert "out of time" in finished.stdout
    assert "out of time" not in run("benchmark", "--filter", "gradcam resnet50").stdout


def test_a_quick_run_measures_one_case_of_every_line_before_a_second_of_any() -> None:
    first, second, third = (replace(CASES[0], methods=(method,)) for method in ("gradcam", "layercam", "hirescam"))
    other = replace(first, batch=8)

    assert _turns([first, second, third, other]) == [first, other, second, third]


def test_a_figure_that_is_not_reached_is_said_and_is_no_failure(run: Run, measured: dict[str, dict[str, Any]]) -> None:
    finished = run("benchmark", "--filter", "hirescam resnet50 8")

    assert finished.exit_code == 0
    assert finished.stdout.splitlines()[-1].split()[-6:] == ["8", "<=", "1.05", "forwards", "1.50", "no"]


def test_maps_that_differ_and_cases_that_fail_are_errors(run: Run, measured: dict[str, dict[str, Any]]) -> None:
    measured["gradcam resnet50 1"] = {"status": FAILED, "words": "ValueError: [no] way"}
    measured["layercam resnet50 1"] = {"agreements": {"torchcam": Agreement(0.5, 1e-4, 0, 1)}}

    finished = run("benchmark")

    assert finished.exit_code == 1
    assert "failed: ValueError: [no] way" in finished.stdout
    assert "Error: failed: gradcam resnet50 1." in finished.stderr
    assert "Error: maps that should agree do not: layercam resnet50 1 (torchcam)." in finished.stderr


def test_markdown_is_written_between_the_markers_of_the_device_also_of_what_was_measured_elsewhere(
    run: Run, measured: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    begin, end = markers("benchmark cuda")
    file = tmp_path / "README.md"
    file.write_text(f"before\n{BEGIN}\nout of date\n{END}\nbetween\n{begin}\nolder\n{end}\nafter ×\n", encoding="utf-8")

    assert run("benchmark", "--markdown", file, "--json-file", "here.json").exit_code == 0
    report = json.loads(Path("here.json").read_text()) | {"device": "cuda", "where": "one fast GPU"}
    Path("there.json").write_text(json.dumps(report))
    assert run("benchmark", "--from", "there.json", "--markdown", file).exit_code == 0

    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    cpu, _, rest = rest.partition(END)
    between, _, rest = rest.partition(begin)
    cuda, _, after = rest.partition(end)
    assert (before, between, after) == ("before\n", "\nbetween\n", "\nafter ×\n")
    assert "out of date" not in cpu + cuda
    assert "| reciprocam | ResNet-50, 1 |  |  | <= 2.00 forwards | 1.50 | yes |" in cpu
    assert "CPU threads" in cpu
    assert cuda.lstrip().startswith("Measured on one fast GPU.")


def test_the_readmes_table_has_the_lines_and_goals_of_the_cases(run: Run, measured: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    page = (ROOT / "camtool/benchmark/README.md").read_text(encoding="utf-8")
    (file := tmp_path / "README.md").write_text(page, encoding="utf-8")

    assert run("benchmark", "--markdown", file).exit_code == 0

    assert _goals(page) == _goals(file.read_text(encoding="utf-8"))
    assert page.count(markers("benchmark cuda")[0]) == page.count(markers("benchmark cuda")[1]) == 1


def _goals(page: str) -> list[tuple[str, str, str]]:
    """Return methods, network with batch, and what is asked, by line of the table."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    return [(row[0], row[1], row[4]) for row in rows]


def test_profile_shows_where_the_time_of_one_case_goes(run: Run) -> None:
    finished = run("benchmark", "--model", "tiny", "--profile", "gradcam tiny 1")

    assert finished.exit_code == 0, finished.stderr
    forward, camtool = finished.stdout.split("camtool, gradcam tiny 1")
    assert forward.startswith("forward, gradcam tiny 1")
    assert "aten::" in forward
    assert "aten::upsample_bilinear2d" not in forward
    assert "aten::" in camtool


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--filter", "gradcamm"], "No case has 'gradcamm' in its name; expected a part of one of: gradcam resnet50 1"),
        (["--profile", "gradcam resnet5 1"], "No case 'gradcam resnet5 1'; closest: 'gradcam resnet50 1'"),
        (["--device", "gpu"], "Unknown device 'gpu'"),
        (["--json-file", "."], "is a directory"),
        (["--from", "none.json"], "Cannot read 'none.json'"),
        (["--markdown", "none.md"], "Cannot read"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    run: Run, measured: dict[str, dict[str, Any]], arguments: list[str], words: str
) -> None:
    finished = run("benchmark", *arguments)

    assert finished.exit_code == 2
    assert words in finished.stderr
    assert finished.stdout == ""


def test_a_file_that_no_benchmark_wrote_is_refused(run: Run) -> None:
    Path("other.json").write_text('{"measured": [{"case": "a"}]}')

    finished = run("benchmark", "--from", "other.json")

    assert finished.exit_code == 2
    assert "Expected a file that camtool benchmark --json-file wrote" in finished.stderr


def test_json_is_a_flag_and_the_file_holds_the_same(run: Run, tmp_path: Path) -> None:
    finished = run("benchmark", "--quick", "--model", "tiny", "--filter", "gradcam tiny 1", "--json", "--json-file", "all.json")
    assert finished.report == json.loads((tmp_path / "all.json").read_text())
