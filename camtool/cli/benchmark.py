"""`camtool benchmark`: the cost of a map in forward passes, beside pytorch-grad-cam and torchcam."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.benchmark_tables import TABLES, Asked, described
from camtool.cli.command import Session, session
from camtool.cli.console import results_console
from camtool.cli.markers import around_markers, markers, write_between
from camtool.errors import CamtoolError, closest
from camtool.io.atomic import check_writable, write_atomically

if TYPE_CHECKING:
    from camtool.benchmark.cases import Case
    from camtool.benchmark.networks import Subject
    from camtool.benchmark.timing import CaseResult


class Model(StrEnum):
    """Networks that `--model` names."""

    resnet50 = "resnet50"
    resnet18 = "resnet18"
    vit_b_16 = "vit_b_16"
    tiny = "tiny"


def benchmark(
    quick: Annotated[bool, typer.Option("--quick", help="Some of the cases, with few rounds: under two minutes.")] = False,
    model: Annotated[
        Model | None, typer.Option("--model", help="Only cases of this network. tiny: takes seconds, to check that everything runs.")
    ] = None,
    text: Annotated[str, typer.Option("--filter", help="Only cases with this text in their name.")] = "",
    device: Annotated[str, options.DEVICE] = "cpu",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads. Left out: torch's default.")] = None,
    placement: Annotated[
        bool, typer.Option("--placement", help="Measure where maps lie beside the truth instead: even, by arithmetic, measured.")
    ] = False,
    layouts: Annotated[
        bool, typer.Option("--layouts", help="Measure what it costs to find out which element of a layer looks where instead.")
    ] = False,
    runs: Annotated[
        bool, typer.Option("--runs", help="Measure camtool run beside plain inference and the others' loops over the same loader instead.")
    ] = False,
    speeds: Annotated[
        bool, typer.Option("--speeds", help="Measure gradcam with speed beside the network's own forward pass, as fast by torch, instead.")
    ] = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Measure metrics beside the forward passes that they count and the others' metrics instead.")
    ] = False,
    checkpoints: Annotated[
        Path, typer.Option("--checkpoints", metavar="DIR", help="With --placement: NAME/final.pth of its networks; trained if missing.")
    ] = Path("outputs/train"),
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="Print a profile of this case instead.", metavar="CASE", show_default=False),
    ] = None,
    as_json: Annotated[bool, options.JSON] = False,
    json_file: Annotated[Path | None, options.JSON_FILE] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="Show the results in a file of --json-file instead of measuring.", metavar="FILE")
    ] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option("--markdown", help=f"Write the table between '{markers('benchmark cpu')[0]}' (or cuda) and its end.", metavar="FILE"),
    ] = None,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Measure camtool, pytorch-grad-cam and torchcam in turns, as ratios to a plain forward pass, and compare their maps.

    Exit code 1 if maps that should agree do not, or a case fails; a goal that is missed is only shown.
    """
    with session(as_json=as_json, debug=debug) as running:
        tables = {"placement": placement, "layouts": layouts, "runs": runs, "speeds": speeds, "metrics": metrics}
        other = next((name for name, asked in tables.items() if asked), None)
        if other is not None:
            TABLES[other](running, Asked(text, threads, markdown_file, checkpoints, quick=quick, as_json=as_json, debug=debug))
            return
        from camtool.benchmark.tables import markdown
        from camtool.models.loading import check_device

        if not debug:
            from camtool.apis.model import quiet_libraries

            quiet_libraries()
        check_device(device)
        if json_file is not None:
            check_writable(json_file)
        if from_file is not None:
            report = _read(from_file)
        else:
            from camtool.benchmark.peers import check_installed

            check_installed()
            cases = _chosen(quick=quick, model=model, text=text)
            if profile is not None:
                _profile(running, _named(profile, cases), device)
                return
            report = described(device, threads, quick=quick)
        pair = markers(f"benchmark {'cuda' if report['device'].startswith('cuda') else 'cpu'}")
        around = None if markdown_file is None else around_markers(markdown_file, pair)
        measured = report.get("measured")
        if measured is None:
            measured = _measure(cases, device, quick=quick)
        content = report | {"measured": [result.as_dict() for result in measured]}
        if as_json:
            running.result(json.dumps(content))
        else:
            _print(running, measured, report["where"])
        if json_file is not None:
            write_atomically(json_file, f"{json.dumps(content, indent=1)}\n".encode())
        if markdown_file is not None and around is not None:
            write_between(markdown_file, around, markdown(measured, report["where"]))
        _judge(running, measured)


def _chosen(*, quick: bool, model: Model | None, text: str) -> "Sequence[Case]":
    from camtool.benchmark.cases import CASES, on_tiny

    cases = on_tiny() if model is Model.tiny else CASES
    chosen = [
        case
        for case in cases
        if (case.quick or not quick) and (model is None or case.network == model) and text.casefold() in case.name.casefold()
    ]
    if not chosen:
        when = " in a quick run" if quick else ""
        raise CamtoolError(f"No case has '{text}' in its name{when}; expected a part of one of: {_names(cases)}.")
    return chosen


def _named(name: str, cases: "Sequence[Case]") -> "Case":
    case = next((case for case in cases if case.name == " ".join(name.split())), None)
    if case is None:
        near = closest(name, [case.name for case in cases])
        raise CamtoolError(f"No case '{name}'{near}; expected one of: {_names(cases)}.")
    if case.missing():
        raise CamtoolError(f"Case '{name}' is not available: {case.missing()}.")
    return case


def _names(cases: "Sequence[Case]") -> str:
    return ", ".join(case.name for case in cases)


def _read(path: Path) -> dict[str, Any]:
    from camtool.benchmark.timing import CaseResult

    try:
        report = json.loads(path.read_bytes())
        return {**report, "measured": [CaseResult.from_dict(result) for result in report["measured"]], "where": str(report["where"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CamtoolError(f"Cannot read '{path}': {error}. Expected a file that camtool benchmark --json-file wrote.") from error


def _subjects(device: str) -> "Callable[[Case], Subject]":
    from camtool.benchmark import networks

    models: dict[str, Any] = {}

    def subject(case: "Case") -> "Subject":
        if case.network not in models:
            models[case.network] = networks.build(case.network, device)
        return networks.subject(case.network, models[case.network], case.batch, case.classes, device)

    return subject


def _measure(cases: "Sequence[Case]", device: str, *, quick: bool) -> "list[CaseResult]":
    from functools import partial

    from rich.console import Console
    from rich.progress import Progress

    from camtool.benchmark.timing import FULL, QUICK, QUICK_SECONDS, measure

    subject = _subjects(device)
    started = time.perf_counter()
    measured: dict[str, CaseResult] = {}
    with Progress(console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=len(cases))
        for case in _turns(cases) if quick else cases:
            progress.update(task, description=case.name)
            in_time = not quick or time.perf_counter() - started < QUICK_SECONDS
            measured[case.name] = measure(case, partial(subject, case), QUICK if quick else FULL, device, in_time=in_time)
            progress.advance(task)
    return [measured[case.name] for case in cases]


def _turns(cases: "Sequence[Case]") -> "list[Case]":
    """Return the first case of every line of the table, then the second of each: when time runs out, each line has a result."""
    lines: dict[tuple[str, str, int], list[Case]] = {}
    for case in cases:
        lines.setdefault((case.row, case.network, case.batch), []).append(case)
    turn = {case.name: number for line in lines.values() for number, case in enumerate(line)}
    return sorted(cases, key=lambda case: turn[case.name])


def _profile(running: Session, case: "Case", device: str) -> None:
    from camtool.benchmark.profile import profiled

    for name, table in profiled(case, _subjects(device)(case), device).items():
        running.result(f"{name}, {case.name}\n{table}")


def _print(running: Session, measured: "Sequence[CaseResult]", where: str) -> None:
    from rich.table import Table

    from camtool.benchmark.tables import cells, lines

    console = results_console(running)
    console.print(f"Measured on {where}. Medians, with quartiles, of ratios to the forward pass of the same round.\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("case", "forward", "camtool", "pytorch-grad-cam", "torchcam", "difference of maps"):
        table.add_column(heading, overflow="fold")
    for result in measured:
        table.add_row(*cells(result), style={"failed": "bold red", "not there yet": "dim", "out of time": "dim"}.get(result.status, ""))
    console.print(table)
    console.print("\nAsked and reached:\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("", "network", "batch", "pytorch-grad-cam", "torchcam", "asked", "reached", ""):
        table.add_column(heading, overflow="fold")
    for line in lines(measured):
        holds = {True: "yes", False: "no", None: ""}[line.holds]
        table.add_row(line.row, line.network, str(line.batch), *line.peers, line.asked, line.reached, holds)
    console.print(table)


def _judge(running: Session, measured: "Sequence[CaseResult]") -> None:
    failed = [result.case for result in measured if result.status == "failed"]
    differing = [f"{result.case} ({', '.join(result.differing)})" for result in measured if result.differing]
    if failed:
        running.remark(f"Error: failed: {', '.join(failed)}.")
    if differing:
        running.remark(f"Error: maps that should agree do not: {', '.join(differing)}.")
    if failed or differing:
        raise typer.Exit(1)
