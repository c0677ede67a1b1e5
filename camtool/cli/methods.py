"""`camtool methods`: list the methods that `--method` takes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli.command import Session, session
from camtool.cli.console import results_console
from camtool.cli.markers import around_markers, markers, write_between

if TYPE_CHECKING:
    from camtool.methods import BaseMethod

MARKERS = markers("methods")

COST_TERMS = (
    "cost: of one map, in forward passes of the whole network and of its tail, the part behind the target layer; C is the number of the "
    "layer's channels, N that of its positions. The methods of one call share the first forward pass."
)


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the table between this file's marker lines instead.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List the methods: name, family, cost, whether they tell classes apart, paper and summary."""
    with session(as_json=as_json, debug=debug) as running:
        file = markdown and markdown.expanduser()
        around = around_markers(file, MARKERS) if file else None
        described = describe_methods()
        if file and around:
            write_between(file, around, markdown_table(described))
            running.remark(f"Saved: {file}")
        if as_json:
            running.result(json.dumps({"methods": described}))
        elif not file:
            _print(running, described)


def describe_methods() -> list[dict[str, Any]]:
    """Return name, family, cost, paper and summary of every registered method, by family and name; a user's own last."""
    from camtool.methods import family
    from camtool.registry import METHODS

    classes = {method.name: method for method in METHODS.module_dict.values()}
    described = [_described(method, family(method)) for method in classes.values()]
    return sorted(described, key=lambda method: (method["family"] == "own", method["family"], method["name"]))


def _described(method: "type[BaseMethod]", family: str) -> dict[str, Any]:
    return {
        "name": method.name,
        "family": family,
        "cost": method.cost,
        "gradient": method.needs.gradients or method.needs.further_gradients,
        "class_discriminative": method.class_discriminative,
        "paper": method.paper,
        "summary": (method.__doc__ or "").strip().split("\n")[0],
    }


def markdown_table(described: list[dict[str, Any]]) -> str:
    """Return the table in Markdown, without a user's own methods."""
    lines = ["| method | family | cost | tells classes apart | paper | what it does |", "|---|---|---|---|---|---|"]
    for method in described:
        if method["family"] != "own":
            cells = (f"`{method['name']}`", method["family"], method["cost"], _apart(method), _link(method["paper"]), method["summary"])
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join([*lines, "", f"{COST_TERMS[0].upper()}{COST_TERMS[1:]}"])


def _print(running: Session, described: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("method", "family", "cost", "knows the class", "paper", "what it does"):
        table.add_column(heading, overflow="fold")
    for method in described:
        table.add_row(method["name"], method["family"], method["cost"], _apart(method), method["paper"], method["summary"])
    console = results_console(running)
    console.print(table)
    console.print(f"\n{COST_TERMS}")


def _apart(method: dict[str, Any]) -> str:
    return "yes" if method["class_discriminative"] else "no"


def _link(paper: str) -> str:
    number = paper.removeprefix("arXiv:")
    return f"[{paper}](https://arxiv.org/abs/{number})" if number != paper else paper
