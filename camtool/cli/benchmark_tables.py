"""The tables of `camtool benchmark` besides that of costs: placement, layouts, runs, faster copies and metrics."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from camtool.cli.command import Session
from camtool.cli.markers import around_markers, markers, write_between
from camtool.errors import CamtoolError

if TYPE_CHECKING:
    from camtool.benchmark import layouts, metric_costs, placement, runs, speeds

    Subject = TypeVar("Subject", layouts.Subject, metric_costs.Subject, placement.Subject, runs.Subject, speeds.Subject)


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    text: str
    """Part of the networks' names."""
    threads: int | None
    markdown_file: Path | None
    checkpoints: Path
    quick: bool
    as_json: bool
    debug: bool


def _of_placement(running: Session, asked: Asked) -> None:
    """Measure where maps lie beside the truth."""
    from camtool.apis.model import quiet_libraries
    from camtool.benchmark.placement import SUBJECTS, markdown, measured_row
    from camtool.cli.progress import drawn_progress

    if not asked.debug:
        quiet_libraries()

    def measured(subjects: "Sequence[placement.Subject]") -> list[Any]:
        with drawn_progress() as progress:
            return [measured_row(subject, asked.checkpoints.expanduser(), progress) for subject in subjects]

    _table(running, asked, "placement", _named(SUBJECTS, asked.text), measured, markdown)


def _of_layouts(running: Session, asked: Asked) -> None:
    """Measure what it costs to find out which element of a layer looks where."""
    from camtool.benchmark.layouts import SUBJECTS, markdown, measured_row

    def measured(subjects: "Sequence[layouts.Subject]") -> list[Any]:
        return [measured_row(subject) for subject in subjects]

    _table(running, asked, "layouts", _named(SUBJECTS, asked.text), measured, markdown)


def _of_runs(running: Session, asked: Asked) -> None:
    """Measure runs over data sets beside plain inference and the loops of other packages."""
    from camtool.apis.model import quiet_libraries
    from camtool.benchmark.peers import check_installed
    from camtool.benchmark.runs import SUBJECTS, markdown, measured_rows

    check_installed()
    if not asked.debug:
        quiet_libraries()

    def measured(subjects: "Sequence[runs.Subject]") -> list[Any]:
        return [row for subject in subjects for row in measured_rows(subject, *((1, (0,)) if asked.quick else ()))]

    _table(running, asked, "runs", _named(SUBJECTS, asked.text), measured, markdown)


def _of_speeds(running: Session, asked: Asked) -> None:
    """Measure maps with `speed` beside the network's own forward pass, made as fast by torch alone."""
    from camtool.benchmark.speeds import SPEEDS, SUBJECTS, markdown, measured_rows

    def measured(subjects: "Sequence[speeds.Subject]") -> list[Any]:
        return [row for subject in subjects for row in measured_rows(subject, *((2, SPEEDS[:1]) if asked.quick else ()))]

    _table(running, asked, "speeds", _named(SUBJECTS, asked.text), measured, markdown)


def _of_metrics(running: Session, asked: Asked) -> None:
    """Measure metrics beside the forward passes that they count and the metrics of other packages."""
    from camtool.apis.model import quiet_libraries
    from camtool.benchmark.metric_costs import ROUNDS, SUBJECTS, markdown, measured_row
    from camtool.benchmark.peers import check_metrics_installed

    check_metrics_installed()
    if not asked.debug:
        quiet_libraries()

    def measured(subjects: "Sequence[metric_costs.Subject]") -> list[Any]:
        return [measured_row(subject, 1 if asked.quick else ROUNDS) for subject in subjects]

    _table(running, asked, "metrics", _named(SUBJECTS, asked.text), measured, markdown)


def described(device: str, threads: int | None, *, quick: bool) -> dict[str, Any]:
    """Return the device, and in words where and how it is measured; sets torch's number of threads."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    cuda = torch.device(device).type == "cuda"
    hardware = torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} CPU threads"
    where = f"{hardware}, torch {torch.__version__}{', a quick run' if quick else ''}"
    return {"device": device, "where": where, "quick": quick}


def _named(subjects: "Sequence[Subject]", text: str) -> "list[Subject]":
    chosen = [subject for subject in subjects if text.casefold() in subject.name.casefold()]
    if not chosen:
        raise CamtoolError(f"No network has '{text}' in its name; expected a part of one of: {', '.join(one.name for one in subjects)}.")
    return chosen


def _table(
    running: Session,
    asked: Asked,
    name: str,
    subjects: "list[Subject]",
    measured: "Callable[[Sequence[Subject]], list[Any]]",
    markdown: Callable[[list[Any], str], str],
) -> None:
    """Measure, and show the table or write it between the markers of this name."""
    file = asked.markdown_file
    around = None if file is None else around_markers(file, markers(f"benchmark {name}"))
    where = described("cpu", asked.threads, quick=False)["where"]
    rows = measured(subjects)
    table = markdown(rows, where)
    running.result(json.dumps({"where": where, "rows": [asdict(row) for row in rows]}) if asked.as_json else table)
    if file is not None and around is not None:
        write_between(file, around, table)


TABLES: dict[str, Callable[[Session, Asked], None]] = {
    "placement": _of_placement,
    "layouts": _of_layouts,
    "runs": _of_runs,
    "speeds": _of_speeds,
    "metrics": _of_metrics,
}
"""Measures a table and shows it, by the option that asks for it."""
