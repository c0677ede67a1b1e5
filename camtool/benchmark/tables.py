"""What was measured, as tables: asked and reached line by line, and in markdown for the README."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camtool.benchmark.cases import MEMORY
from camtool.benchmark.peers import GRAD_CAM, TORCHCAM
from camtool.benchmark.timing import ABSENT, CAMTOOL, FAILED, OK, OUT_OF_TIME, CaseResult

LABELS = {"resnet50": "ResNet-50", "resnet18": "ResNet-18", "vit_b_16": "ViT-B/16"}


@dataclass(frozen=True)
class Line:
    """One line of the table of asked and reached: all methods of a row on one network and batch."""

    row: str
    network: str
    batch: int
    peers: tuple[str, ...]
    """What pytorch-grad-cam and torchcam need; "" where they have no such method, or were not run."""
    asked: str
    reached: str
    """From the best to the worst method; or why there is no figure."""
    holds: bool | None
    """Whether the worst method reaches what is asked; None: nothing was asked, or nothing measured."""


def lines(measured: Sequence[CaseResult]) -> list[Line]:
    """Return the table of asked and reached."""
    keys = dict.fromkeys((one.row, one.network, one.batch) for one in measured)
    return [_line([one for one in measured if (one.row, one.network, one.batch) == key]) for key in keys]


def _line(measured: Sequence[CaseResult]) -> Line:
    first = measured[0]
    peers = tuple(_span([one.relative(peer) for one in measured], "x") for peer in (GRAD_CAM, TORCHCAM))
    # Rounded as it is printed: 1.05 reaches 1.05.
    reached = [round(one.reached, 2) for one in measured if one.reached is not None]
    parts = [_span(reached)] if reached else []
    for status in (ABSENT, FAILED, OUT_OF_TIME):
        names = [one.case.removesuffix(f" {one.network} {one.batch}") for one in measured if one.status == status]
        parts += [f"{', '.join(names) if len(names) < len(measured) else ''} {status}".strip()] if names else []
    holds = None
    if first.asked is not None and reached:
        holds = max(reached) <= first.asked
    asked = "" if first.asked is None else f"<= {first.asked:.2f} {first.unit}"
    return Line(first.row, LABELS.get(first.network, first.network), first.batch, peers, asked, "; ".join(parts), holds)


def _span(values: Sequence[float | None], suffix: str = "") -> str:
    known = [f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in sorted(value for value in values if value is not None)]
    if not known:
        return ""
    return f"{known[0]}{suffix}" if known[0] == known[-1] else f"{known[0]} to {known[-1]}{suffix}"


def markdown(measured: Sequence[CaseResult], where: str) -> str:
    """Return the table of asked and reached for the README; `where` says on what it was measured."""
    said = {True: "yes", False: "no", None: ""}
    table = [
        f"Measured on {where}. Ratios to a plain `torch.inference_mode()` forward of the same batch, interleaved medians; "
        "where a line has several methods, the best and the worst.",
        "",
        "| | network, batch | pytorch-grad-cam | torchcam | asked | reached | |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines(measured):
        cells = [line.row, f"{line.network}, {line.batch}", *line.peers, line.asked, line.reached, said[line.holds]]
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)


def cells(one: CaseResult) -> list[str]:
    """Return a case's line of the table of everything measured: yardstick, camtool, peers, agreement."""
    if one.status != OK:
        return [one.case, f"{one.status}: {one.words}".removesuffix(": "), "", "", "", ""]
    cost: Callable[[str], str] = (lambda name: _memory(one, name)) if one.unit == MEMORY else (lambda name: _time(one, name))
    return [one.case, _yardstick(one), cost(CAMTOOL), cost(GRAD_CAM), cost(TORCHCAM), _agreement(one)]


def _yardstick(one: CaseResult) -> str:
    return f"{one.memory['forward'] / 2**20:.0f} MiB" if one.unit == MEMORY else f"{1e3 * one.timings['forward'].seconds:.1f} ms"


def _memory(one: CaseResult, name: str) -> str:
    return f"{one.relative(name):.2f} ({one.memory[name] / 2**20:.0f} MiB)" if name in one.memory else ""


def _time(one: CaseResult, name: str) -> str:
    timing = one.timings.get(name)
    if timing is None:
        return ""
    return f"{timing.ratio:.2f} ({timing.low:.2f}-{timing.high:.2f})" if timing.rounds > 1 else f"{timing.ratio:.2f} (once)"


def _agreement(one: CaseResult) -> str:
    parts = []
    for name, agreement in one.agreements.items():
        blank = f", {agreement.blank} of {agreement.maps} blank" if agreement.blank else ""
        finer = "" if agreement.precision == "float32" else f" in {agreement.precision}"
        parts.append(
            f"{name} {'' if agreement.holds else 'DIFFERS by '}{agreement.difference:.0e} (<= {agreement.tolerance:.0e}){finer}{blank}"
        )
    return "; ".join(parts)
