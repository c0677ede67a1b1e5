"""`camtool analyze select`: the network's accuracy with some channels of its target layer only."""

from pathlib import Path
from typing import Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.analyze import Analysis, Debug, Json, Layers, Methods, Out, StorePath, csv_of, report
from camtool.cli.command import session
from camtool.errors import DataError


def select(
    store: StorePath,
    config: Annotated[str | None, typer.Option("--config", metavar="CONFIG", help="The run's.")] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", metavar="FILE", help="The run's weights.")] = None,
    mode: Annotated[
        str, typer.Option("--mode", metavar="NAME", help="all, max, top, freq, diff_top, reverse_diff_top or index.")
    ] = "diff_top",
    ratio: Annotated[
        list[float] | None, typer.Option("--ratio", metavar="R…", help="Shares of the channels. Left out: 0.05 0.1 0.25.")
    ] = None,
    index: Annotated[list[int] | None, typer.Option("--index", metavar="C…", help="With --mode index: the channels.")] = None,
    on: Annotated[
        Path | None, typer.Option("--on", metavar="STORE", help="Pictures that are asked. Left out: those of the store itself.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of the pictures. Left out: the run's.")] = None,
    method: Methods = None,
    layer: Layers = None,
    all_samples: Annotated[bool, typer.Option("--all-samples", help="Importance counts samples that are predicted wrongly, too.")] = False,
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    device: Annotated[str, options.DEVICE] = "cpu",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="How many samples share a forward pass.")] = 16,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the network again with only those channels of the target layer that matter to the class that it predicts."""
    with session(as_json=as_json, debug=debug) as running:
        if config is None:
            raise DataError("Expected --config CONFIG: the network is run again with some of its channels.")
        from camtool.analysis.importance import importance
        from camtool.analysis.kept_accuracy import Selection, kept_accuracy
        from camtool.apis import Explainer
        from camtool.store import open as open_store

        analysis = Analysis(store, out, method, layer)
        asked = analysis.store if on is None else open_store(on)
        root = data if data is not None else asked.run.get("root")
        ratios = (ratio or [0.05, 0.1, 0.25]) if mode not in ("all", "max", "index") else [1.0]
        selections = [Selection(mode, one, tuple(index or ())) for one in ratios]
        explainer = Explainer(config, checkpoint, device=device, random_weights=random_weights, output=analysis.output)
        files: dict[str, bytes] = {}
        entries: list[dict[str, Any]] = []
        for source in analysis.sources:
            found = importance(analysis.store, source, all_samples=all_samples)
            kept = kept_accuracy(explainer, asked, source, found, selections, root=root, batch_size=batch_size)
            rows = [
                {
                    "method": source.method,
                    "layer": source.layer,
                    "mode": mode,
                    "ratio": one.ratio,
                    "channels": channels,
                    "accuracy": kept.before,
                    "accuracy_kept": after,
                    "samples": kept.count,
                    "left_out": kept.left_out,
                }
                for one, channels, after in zip(selections, kept.channels, kept.after, strict=True)
            ]
            files[f"im/select_{mode}_{analysis.names[source]}.csv"] = csv_of(rows)
            entries += rows
        report(running, analysis, {"selections": entries}, analysis.write(files), as_json=as_json)
