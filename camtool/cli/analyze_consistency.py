"""`camtool analyze consistency`: does the sum of a map go with the score that it explains?"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.analyze import Analysis, Debug, Json, Layers, Methods, Out, StorePath, csv_of, finite, report
from camtool.cli.command import session
from camtool.errors import DataError

if TYPE_CHECKING:
    from camtool.analysis import Normaliser
    from camtool.analysis.consistency import Agreement, Points
    from camtool.analysis.masked import MaskedEffect
    from camtool.analysis.sources import Source
    from camtool.apis import Explainer


def consistency(
    store: StorePath,
    normaliser: Annotated[
        list[Path] | None,
        typer.Option("--normaliser", metavar="FILE…", help="Of 'analyze ranges', fitted on another split. Left out: fitted on this store."),
    ] = None,
    method: Methods = None,
    layer: Layers = None,
    rescale: Annotated[str, typer.Option("--rescale", metavar="KIND", help="Without --normaliser: norm, tanh or none.")] = "norm",
    masked: Annotated[
        list[str] | None,
        typer.Option("--masked", metavar="KIND…", help="Also run the network on what the maps show: basic, logit. Needs --config."),
    ] = None,
    config: Annotated[str | None, typer.Option("--config", metavar="CONFIG", help="With --masked: the run's.")] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", metavar="FILE", help="With --masked: the run's weights.")] = None,
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="With --masked: folder of the pictures. Left out: the run's.")
    ] = None,
    device: Annotated[str, options.DEVICE] = "cpu",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="With --masked: how many samples share a forward pass.")] = 16,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Correlate the sums of maps with the probability and the logit, by class and in all: a table and scatter plots in figs/."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.analysis.consistency import agreements, points
        from camtool.analysis.masked import KINDS

        analysis = Analysis(store, out, method, layer)
        scales = _normalisers(analysis, normaliser or [], rescale)
        effects: list[dict[str, Any]] = []
        if masked or config:
            from camtool.analysis.passes import MaskedPasses

            root = data if data is not None else analysis.store.run.get("root")
            passes = MaskedPasses(_explainer(analysis, config, checkpoint, device, random_weights=random_weights), root, batch_size)
            for scale in scales.values():
                effects += [_effect(passes.effect(analysis.store, scale, kind), scale, kind) for kind in masked or KINDS]
        entries: list[dict[str, Any]] = []
        files: dict[str, bytes] = {}
        for source, scale in scales.items():
            found = points(analysis.store, scale)
            rows = [_entry(analysis, source, one) for one in agreements(found)]
            name = analysis.names[source]
            files[f"figs/corr_{name}.csv"] = csv_of(rows)
            files[f"figs/corr_{name}.png"] = _drawn(analysis, source, scale, found, agreements(found)[0])
            entries += rows
        if effects:
            files["figs/masked.csv"] = csv_of(effects)
        written = analysis.write(files)
        tables = {"agreement": entries, **({"masked": effects} if effects else {})}
        report(running, analysis, tables, written, as_json=as_json)


def _normalisers(analysis: Analysis, paths: list[Path], rescale: str) -> "dict[Source, Normaliser]":
    """Return by method and layer its normaliser: that of a file, else fitted on the store itself."""
    from camtool.analysis import Normaliser

    if not paths:
        return {
            source: Normaliser.fit(analysis.store, method=source.method, layer=source.layer, rescale=rescale) for source in analysis.sources
        }
    given: dict[Source, Normaliser] = {}
    for path in paths:
        loaded = Normaliser.load(path)
        loaded.check(analysis.store)
        if loaded.source in given:
            raise DataError(f"Two normalisers are of {loaded.source}; give one for each method and layer.")
        given[loaded.source] = loaded
    chosen = {source: given[source] for source in analysis.sources if source in given}
    if not chosen:
        raise DataError(f"No normaliser of {', '.join(map(str, analysis.sources))}; got {', '.join(map(str, given))}.")
    return chosen


def _explainer(analysis: Analysis, config: str | None, checkpoint: str | None, device: str, *, random_weights: bool) -> "Explainer":
    from camtool.apis import Explainer

    if config is None:
        raise DataError("Expected --config with --masked: the network is run again on what the maps show.")
    return Explainer(config, checkpoint, device=device, random_weights=random_weights, output=analysis.output)


def _effect(found: "MaskedEffect", scale: "Normaliser", kind: str) -> dict[str, Any]:
    numbers = {name: finite(getattr(found, name)) for name in ("drop", "increase", "accuracy_before", "accuracy_after")}
    source = {"method": scale.source.method, "layer": scale.source.layer}
    return {**source, "masked": kind, **numbers, "samples": found.count, "left_out": found.left_out}


def _entry(analysis: Analysis, source: "Source", one: "Agreement") -> dict[str, Any]:
    reasons = {getattr(one, name).reason for name in ("corr", "corr_logit", "clipped", "own_scale")} - {""}
    return {
        "method": source.method,
        "layer": source.layer,
        "class": one.target,
        "name": analysis.class_name(one.target),
        "maps": one.count,
        "corr": finite(one.corr.r),
        "corr_p": finite(one.corr.p),
        "corr_logit": finite(one.corr_logit.r),
        "corr_logit_p": finite(one.corr_logit.p),
        "clipped_logit": finite(one.clipped.r),
        "own_scale_logit": finite(one.own_scale.r),
        "auroc": finite(one.auroc),
        "reason": "; ".join(sorted(reasons)),
    }


def _drawn(analysis: Analysis, source: "Source", scale: "Normaliser", found: "Points", every: "Agreement") -> bytes:
    import numpy as np

    from camtool.visualization.scatter import Scatter, draw_scatters

    across, name = found.rescaled, f"sum of the map ({scale.rescale})"
    plots = [
        Scatter(across, found.probability, name, "probability", f"corr, all: {_r(every.corr.r)}"),
        Scatter(across, found.logit, name, "logit", f"corr_logit, all: {_r(every.corr_logit.r)}"),
        Scatter(found.clipped, found.logit, "sum of the map, clipped to [0, 1]", "logit", f"clipped, all: {_r(every.clipped.r)}"),
    ]
    # A store of raw outputs has no probabilities, and its samples no point in that plot.
    plots = [plot for plot in plots if np.isfinite(plot.across + plot.up).any()] or plots
    classes = [analysis.class_name(int(k)) if math.isfinite(k) else "" for k in found.target.tolist()]
    return draw_scatters(plots, classes, heading=str(source))


def _r(value: float) -> str:
    return f"r = {value:.4f}" if math.isfinite(value) else "no r"
