"""`camtool analyze importance`: which channels of the target layer matter, in all and to each class."""

from typing import Annotated, Any

import typer

from camtool.cli.analyze import Analysis, Debug, Json, Layers, Methods, Out, StorePath, report
from camtool.cli.command import session
from camtool.errors import warn


def importance(
    store: StorePath,
    method: Methods = None,
    layer: Layers = None,
    all_samples: Annotated[bool, typer.Option("--all-samples", help="Count samples that are predicted wrongly, too.")] = False,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Average the importance of each channel over the samples (All), by class (Target), and their difference (Diff), as CSV in im/."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.analysis.importance import NoImportancesError
        from camtool.analysis.importance import importance as importance_of
        from camtool.analysis.ranges import range_table
        from camtool.analysis.sources import columns

        analysis = Analysis(store, out, method, layer)
        files: dict[str, bytes] = {}
        entries: list[dict[str, Any]] = []
        for source in analysis.sources:
            name = analysis.names[source]
            try:
                found = importance_of(analysis.store, source, all_samples=all_samples)
            except NoImportancesError as error:
                if method or (not entries and source == analysis.sources[-1]):
                    raise
                warn(f"Left out: {error}")
                continue
            for kind, text in found.csv(analysis.class_names).items():
                files[f"im/{kind}_{name}.csv"] = text.encode("utf-8", "surrogateescape")
            extremes = columns(source.rows(analysis.store), ["max", "min"])
            files[f"im/{name}_maxmin.csv"] = range_table(extremes["max"], extremes["min"], left_out=extremes.left_out).csv().encode()
            entries.append(
                {
                    "method": source.method,
                    "layer": source.layer,
                    "channels": len(found.every),
                    "classes": len(found.target),
                    "samples": found.count,
                    "not_counted": found.wrong,
                    "left_out": found.left_out,
                    "without_importance": {analysis.class_name(k): reason for k, reason in found.reasons.items()},
                }
            )
        written = analysis.write(files)
        report(running, analysis, {"importance": entries}, written, as_json=as_json)
