"""`camtool methods`: what `--method` takes."""

import json
from typing import Annotated

import typer

from camtool.cli.command import session
from camtool.cli.console import results_console


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List the methods: name, paper, what each does."""
    with session(as_json=as_json, debug=debug) as running:
        from rich.table import Table

        from camtool.methods import find_method, method_names

        classes = [find_method(name) for name in method_names()]
        described = [
            {
                "name": one.name,
                "gradient": one.needs_gradients or one.asks_gradients,
                "class_discriminative": one.class_discriminative,
                "paper": one.paper,
                "summary": (one.__doc__ or "").strip().split("\n")[0],
            }
            for one in classes
        ]
        if as_json:
            running.result(json.dumps({"methods": described}))
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("method", "knows the class", "paper", "what it does"):
            table.add_column(heading, overflow="fold")
        for one in described:
            table.add_row(str(one["name"]), "yes" if one["class_discriminative"] else "no", str(one["paper"]), str(one["summary"]))
        results_console(running).print(table)
