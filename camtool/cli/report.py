"""The report of the main job: a short table, or one JSON object."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camtool.cli.command import Session
from camtool.cli.console import results_console

if TYPE_CHECKING:
    from rich.console import Console

    from camtool.cli.explain import Explained
    from camtool.cli.questions import Aim

RANDOM_WEIGHTS = "Warning: RANDOM WEIGHTS (--random-weights): this map means nothing."


def print_json(running: Session, explained: "Explained", written: Sequence[Path]) -> None:
    """Print the whole report as one JSON object."""
    answers = explained.answers
    running.result(
        json.dumps(
            {
                "predicted": class_facts(explained, explained.predicted),
                "top5": [class_facts(explained, index) for index in _top(explained)],
                "targets": [aim_facts(explained, aim) for aim in answers.aims],
                "target": explained.target_facts(),
                "probabilities": answers.scale,
                **circumstances(explained),
                "status": {method: result.status[0] for method, result in explained.results.items()},
                "warnings": running.warnings,
                "outputs": [str(path) for path in written],
                "seconds": {name: round(seconds, 4) for name, seconds in explained.seconds.items()},
            },
            allow_nan=False,
        )
    )


def print_table(running: Session, explained: "Explained", written: Sequence[Path]) -> None:
    """Print the top classes, the layer and why, the status of maps with one, the times, and the paths written."""
    from rich.table import Table

    answers = explained.answers
    if answers.remark:
        running.remark(f"Note: {answers.remark}.")
    if explained.network.checkpoint is None:
        running.remark(RANDOM_WEIGHTS)
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    table.add_column("index", justify="right")
    table.add_column(answers.scale, justify="right")
    table.add_column("")
    top = _top(explained)
    targets = [aim.index for aim in answers.aims if aim.index is not None]
    for index in [*top, *(target for target in targets if target not in top)]:
        table.add_row(explained.name(index) or "-", str(index), explained.shown(index), "target" if index in targets else "")
    console = results_console(running)
    console.print(table)
    if explained.question.name != "logit":
        for aim in answers.aims:
            console.print(f"Explained: {aim.words}, {aim.value:.4g}", soft_wrap=True)
    if "embedding" in explained.question.facts:
        console.print(f"Embedding: {explained.question.facts['embedding']}")
    print_circumstances(console, explained)
    seconds = explained.seconds
    console.print(f"Time: forward {seconds['forward']:.2f} s, maps {seconds['maps']:.2f} s, {seconds['total']:.1f} s in all")
    for path in written:
        console.print(f"Saved: {path}", soft_wrap=True)


def circumstances(explained: "Explained") -> dict[str, Any]:
    """Return by what methods, at what layers and with what weights maps were made, as JSON."""
    network = explained.network
    loaded = None if network.keys is None else {"source": network.checkpoint, "sha256": network.digest, **asdict(network.keys)}
    return {
        "methods": list(explained.results),
        "refused": explained.refused,
        "layers": explained.layers,
        "layers_reason": explained.reason,
        "sources": {method: result.source for method, result in explained.results.items()},
        "checkpoint": network.checkpoint or "random weights",
        "weights": loaded,
    }


def print_circumstances(console: "Console", explained: "Explained") -> None:
    """Print by what methods, at what layers and with what weights maps were made."""
    layers, network = explained.layers, explained.network
    if layers:
        console.print(f"Layer{'s' if len(layers) > 1 else ''}: {', '.join(layers)} ({explained.reason})", soft_wrap=True)
    for method, result in explained.results.items():
        if result.layers != layers:
            console.print(f"{method}: {result.source}")
    if network.keys is not None:
        console.print(f"Checkpoint: {network.checkpoint} ({network.keys})", soft_wrap=True)
    agnostic = [method for method, result in explained.results.items() if not result.class_discriminative]
    if agnostic:
        console.print(f"Not about a class: the map of {', '.join(agnostic)} is the same for every class.")
    for reason in dict.fromkeys(explained.refused.values()):  # methods of one family refuse for one reason
        methods = [method for method, given in explained.refused.items() if given == reason]
        console.print(f"Left out: {', '.join(methods)}. {reason}", soft_wrap=True)


def _top(explained: "Explained", count: int = 5) -> list[int]:
    return explained.answers.ranking[:count]


def aim_facts(explained: "Explained", aim: "Aim") -> dict[str, Any]:
    """Return what a map explains, as JSON: a class, or words where it is about none."""
    return class_facts(explained, aim.index) if aim.index is not None else {"index": None, "name": aim.words, "probability": None}


def class_facts(explained: "Explained", index: int) -> dict[str, Any]:
    """Return a class as JSON: index, name, and its probability, or the number that it is."""
    number = "value" if explained.answers.scale == "value" else "probability"
    return {"index": index, "name": explained.name(index), number: round(explained.answers.by_class[index], 6)}
