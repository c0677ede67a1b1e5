"""Tables of benchmark results, for the terminal and in markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camtool.benchmark.cases import MEMORY
from camtool.benchmark.peers import GRAD_CAM, TORCHCAM
from camtool.benchmark.timing import ABSENT, CAMTOOL, FAILED, OK, OUT_OF_TIME, CaseResult

LABELS = {"resnet50": "ResNet-50", "resnet18": "ResNet-18", "vit_b_16": "ViT-B/16"}


@dataclass(frozen=True)
class Line:
    """A line of the table of targets: all methods of a row on one network and batch."""

    row: str
    network: str
    batch: int
    peers: tuple[str, ...]
    """Costs of pytorch-grad-cam and torchcam; "" if they lack the method or were not run."""
    asked: str
    """The target."""
    reached: str
    """Cost of the best to the worst method; or why there is none."""
    holds: bool | None
    """Whether the worst method meets the target; None: no target, or no measurement."""


def lines(measured: Sequence[CaseResult]) -> list[Line]:
    """Return the table of targets and measured costs."""
    keys = dict.fromkeys((result.row, result.network, result.batch) for result in measured)
    return [_line([result for result in measured if (result.row, result.network, result.batch) == key]) for key in keys]


def _line(measured: Sequence[CaseResult]) -> Line:
    first = measured[0]
    peers = tuple(_span([result.relative(peer) for result in measured], "x") for peer in (GRAD_CAM, TORCHCAM))
    # Rounded as printed, so that a printed 1.05 meets a target of 1.05.
    reached = [round(result.reached, 2) for result in measured if result.reached is not None]
    parts = [_span(reached)] if reached else []
    for status in (ABSENT, FAILED, OUT_OF_TIME):
        names = [result.case.removesuffix(f" {result.network} {result.batch}") for result in measured if result.status == status]
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
    """Return the table of targets and measured costs in markdown; `where` names the machine."""
    labels = {True: "yes", False: "no", None: ""}
    table = [
        f"Measured on {where}. Ratios to a plain `torch.inference_mode()` forward of the same batch, interleaved medians; "
        "where a line has several methods, the best and the worst.",
        "",
        "| | network, batch | pytorch-grad-cam | torchcam | asked | reached | |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines(measured):
        cells = [line.row, f"{line.network}, {line.batch}", *line.peers, line.asked, line.reached, labels[line.holds]]
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)


def cells(result: CaseResult) -> list[str]:
    """Return the cells of a case: name, forward pass, camtool, peers, agreement of maps."""
    if result.status != OK:
        return [result.case, f"{result.status}: {result.words}".removesuffix(": "), "", "", "", ""]
    cost: Callable[[str], str] = (lambda name: _memory(result, name)) if result.unit == MEMORY else (lambda name: _time(result, name))
    return [result.case, _forward(result), cost(CAMTOOL), cost(GRAD_CAM), cost(TORCHCAM), _agreement(result)]


def _forward(result: CaseResult) -> str:
    return f"{result.memory['forward'] / 2**20:.0f} MiB" if result.unit == MEMORY else f"{1e3 * result.timings['forward'].seconds:.1f} ms"


def _memory(result: CaseResult, name: str) -> str:
    return f"{result.relative(name):.2f} ({result.memory[name] / 2**20:.0f} MiB)" if name in result.memory else ""


def _time(result: CaseResult, name: str) -> str:
    timing = result.timings.get(name)
    if timing is None:
        return ""
    return f"{timing.ratio:.2f} ({timing.low:.2f}-{timing.high:.2f})" if timing.rounds > 1 else f"{timing.ratio:.2f} (once)"


def _agreement(result: CaseResult) -> str:
    parts = []
    for name, agreement in result.agreements.items():
        blank = f", {agreement.blank} of {agreement.maps} blank" if agreement.blank else ""
        finer = "" if agreement.precision == "float32" else f" in {agreement.precision}"
        parts.append(
            f"{name} {'' if agreement.holds else 'DIFFERS by '}{agreement.difference:.0e} (<= {agreement.tolerance:.0e}){finer}{blank}"
        )
    return "; ".join(parts)
