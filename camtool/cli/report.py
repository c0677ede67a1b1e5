"""Reports of the commands that explain images: a short table, or JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from camtool.cli.command import Session
from camtool.cli.console import results_console
from camtool.errors import some
from camtool.words import one_line, shortened

if TYPE_CHECKING:
    from rich.console import Console

    from camtool.apis.concepts import ConceptExplanation
    from camtool.apis.explanation import Explanation

_MOST_CHARACTERS = 120  # of a class's name in the table, which has all synonyms: the longest of ImageNet has 121

RANDOM_WEIGHTS = "Warning: RANDOM WEIGHTS (--random-weights): {} nothing."


def print_json(running: Session, report: Any) -> None:
    """Print a report as JSON; ValueError for NaN."""
    running.result(json.dumps(report, allow_nan=False))


def print_explanation(running: Session, explanation: "Explanation", written: Sequence[Path], seconds: float) -> None:
    """Print the top classes, the target layers and the reason for them, the times, and the paths written."""
    from rich.table import Table

    _remark(running, explanation)
    answer = explanation.answer
    console = results_console(running)
    if answer.by_class:
        table = Table(box=None, pad_edge=False)
        table.add_column("class", overflow="fold")
        table.add_column("index", justify="right", no_wrap=True)
        table.add_column(answer.scale, justify="right", no_wrap=True)  # "2.6 %" in one line
        table.add_column("")
        top = [facts["index"] for facts in explanation.top5]
        targets = [target.index for target in answer.targets if target.index is not None]
        for index in [*top, *(target for target in targets if target not in top)]:
            name = shortened(one_line(explanation.class_name(index) or ""), _MOST_CHARACTERS) or "-"
            table.add_row(name, str(index), explanation.shown(index), "target" if index in targets else "")
        console.print(table)
    if explanation.selection.name != "logit":
        for target in answer.targets:
            console.print(f"Explained: {target.words}, {target.value:.4g}", soft_wrap=True)
    if "embedding" in answer.facts:
        console.print(f"Embedding: {answer.facts['embedding']}")
    print_circumstances(console, explanation)
    times = explanation.seconds
    console.print(f"Time: forward {times['forward']:.2f} s, maps {times['maps']:.2f} s, {seconds:.1f} s in all")
    _print_paths(console, written)


def print_concepts(running: Session, explanation: "ConceptExplanation", written: Sequence[Path]) -> None:
    """Print each concept's classes, the target layer and the reason for it, and the paths written."""
    from camtool.cli.rich_text import Unbroken

    if explanation.network.checkpoint is None:
        running.remark(RANDOM_WEIGHTS.format("these concepts mean"))
    console = results_console(running)
    for label in explanation.labels:
        console.print(Unbroken(label))
    concepts = explanation.concepts
    if concepts.remark:
        console.print(f"No class scores: {concepts.remark}.", soft_wrap=True)
    console.print(f"Layer: {concepts.layer} ({concepts.reason})", soft_wrap=True)
    _print_paths(console, written)


class ImageRow(NamedTuple):
    """A row of the table of several images."""

    image: str
    predicted: str
    explained: str
    saved: str


def image_row(name: str, explanation: "Explanation | ConceptExplanation", written: Sequence[Path]) -> ImageRow:
    """Return an image's row: its name, the predicted class, the targets of its maps, and the paths written."""
    from camtool.apis.explanation import Explanation
    from camtool.apis.samples import predicted_class

    paths = "\n".join(map(str, written))
    if isinstance(explanation, Explanation):
        return ImageRow(name, predicted_class(explanation), "\n".join(captions(explanation)), paths)
    return ImageRow(name, "", "\n".join(explanation.labels), paths)


def print_several(running: Session, rows: Sequence[ImageRow], last: "Explanation | ConceptExplanation", seconds: float) -> None:
    """Print a row for each image, then what all share (layers and weights, read from the last), and the time."""
    from rich.table import Table

    from camtool.apis.explanation import Explanation
    from camtool.cli.rich_text import Unbroken

    table = Table(box=None, pad_edge=False)
    for heading in ImageRow._fields:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Unbroken, row))
    if isinstance(last, Explanation):
        _remark(running, last)
    console = results_console(running)
    console.print(table)
    if isinstance(last, Explanation):
        print_circumstances(console, last)
    elif last.network.checkpoint is None:
        running.remark(RANDOM_WEIGHTS.format("these concepts mean"))
    console.print(f"Time: {seconds:.1f} s for {len(rows)} images")


def captions(explanation: "Explanation") -> list[str]:
    """Return the caption of each map: its target, with the probability or value."""
    from camtool.apis.canvas import caption

    return [caption(explanation.answer, target) for target in explanation.answer.targets]


def print_circumstances(console: "Console", explanation: "Explanation") -> None:
    """Print the layers, the weights, and remarks on the methods that the maps were made with."""
    layers, network = explanation.layers, explanation.network
    if layers:
        console.print(f"Layer{'s' if len(layers) > 1 else ''}: {', '.join(layers)} ({explanation.layers_reason})", soft_wrap=True)
    several = [f"{path}: call {call}" for path, call in explanation.calls.items()]
    if several:
        console.print(f"Of several calls: {', '.join(several)}", soft_wrap=True)
    others = [name for name in explanation.outputs if name != explanation.output]
    if others:
        console.print(f"Output: {explanation.output} (others: {some(others, 8)})", soft_wrap=True)
    for method, result in explanation.results.items():
        if result.layers != layers:
            console.print(f"{method}: {result.source}")
    if network.keys is not None:
        under = f", weights under '{network.wrapper}'" if network.wrapper else ""
        console.print(f"Checkpoint: {network.checkpoint} ({network.keys}{under})", soft_wrap=True)
    agnostic = [method for method, result in explanation.results.items() if not result.class_discriminative]
    if agnostic:
        console.print(f"Not about a class: the map of {', '.join(agnostic)} is the same for every class.")
    for reason in dict.fromkeys(explanation.refused.values()):  # methods of one family have the same reason
        methods = [method for method, why in explanation.refused.items() if why == reason]
        console.print(f"Left out: {', '.join(methods)}. {reason}", soft_wrap=True)


def _remark(running: Session, explanation: "Explanation") -> None:
    if explanation.answer.remark:
        running.remark(f"Note: {explanation.answer.remark}.")
    if explanation.network.checkpoint is None:
        running.remark(RANDOM_WEIGHTS.format("this map means"))


def _print_paths(console: "Console", written: Sequence[Path]) -> None:
    for path in written:
        console.print(f"Saved: {path}", soft_wrap=True)
