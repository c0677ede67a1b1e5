"""`camtool analyze select`: choose channels of the target layer by their importance, and run the network with these only."""

import csv
import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from camtool.cli import options
from camtool.cli.analyze import Analysis, Debug, Json, Layers, Methods, Out, StorePath, finite, report
from camtool.cli.command import session


def select(
    store: StorePath,
    mode: Annotated[
        str, typer.Option("--mode", metavar="MODE", help="all, max, top, freq, diff_top, reverse_diff_top or index.")
    ] = "diff_top",
    ratio: Annotated[float, typer.Option("--ratio", metavar="R", help="Share of the channels (freq: importance) from 0 to 1.")] = 0.1,
    index: Annotated[list[int] | None, typer.Option("--index", metavar="N…", help="With --mode index: the channels.")] = None,
    method: Methods = None,
    layer: Layers = None,
    all_samples: Annotated[bool, typer.Option("--all-samples", help="Importance of samples that are predicted wrongly, too.")] = False,
    config: Annotated[
        str | None, typer.Option("--config", metavar="CONFIG", help="The run's: its network is run again with the chosen channels only.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", metavar="FILE", help="With --config: the run's weights.")] = None,
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="With --config: folder of the pictures. Left out: the run's.")
    ] = None,
    device: Annotated[str, options.DEVICE] = "cpu",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="With --config: how many samples share a forward pass.")] = 16,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Choose channels of the target layer for each class, as CSV in im/; with --config also what the network answers with these only."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.analysis.importance import importance
        from camtool.analysis.selected_passes import selection_effect
        from camtool.analysis.selection import selection_masks
        from camtool.apis import Explainer

        analysis = Analysis(store, out, method, layer)
        found = {source: importance(analysis.store, source, all_samples=all_samples) for source in analysis.sources}
        masks = {source: selection_masks(one, mode, ratio=ratio, index=index or ()) for source, one in found.items()}
        explainer = None if config is None else Explainer(config, checkpoint, device=device, random_weights=random_weights)
        root = data if data is not None else analysis.store.run.get("root")
        entries, files = [], {}
        for source, chosen in masks.items():
            kept = chosen[~np.isnan(chosen).any(axis=1)].sum(axis=1)  # without the classes of NaN
            entry: dict[str, Any] = {
                "method": source.method,
                "layer": source.layer,
                "mode": mode,
                "channels": chosen.shape[1],
                "kept": f"{int(kept.min())} to {int(kept.max())}" if len(kept) else "none",
                "without_importance": {analysis.class_name(k): reason for k, reason in found[source].reasons.items()},
            }
            if explainer is not None:
                effect = selection_effect(explainer, analysis.store, source, chosen, root, batch_size)
                numbers = {name: finite(getattr(effect, name)) for name in ("accuracy_before", "accuracy_after", "same_answer")}
                entry |= {**numbers, "samples": effect.count, "left_out": effect.left_out}
            entries.append(entry)
            files[f"im/selection_{mode}_{analysis.names[source]}.csv"] = _csv(analysis, chosen)
        report(running, analysis, {"selection": entries}, analysis.write(files), as_json=as_json)


def _csv(analysis: Analysis, masks: np.ndarray) -> bytes:
    """Return by class which channels are kept, 1 or 0; nan for a class without importance."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", "name", *range(masks.shape[1])])
    for number, row in enumerate(masks.tolist()):
        writer.writerow([number, analysis.class_name(number), *(f"{value:g}" for value in row)])
    return buffer.getvalue().encode("utf-8", "surrogateescape")
