"""`camtool eval`: are the maps of a store right, by which metric, and which method's are better?"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli.analyze import Analysis, Debug, Json, Layers, Methods, csv_of, report
from camtool.cli.command import session
from camtool.cli.evaluation_material import (
    Given,
    check_read_alike,
    digest_of_network,
    made_explainer,
    made_store,
    material_of,
    possible,
    removing,
)
from camtool.cli.evaluation_options import (
    AnnotationsKind,
    AnnotationsPath,
    BatchSize,
    Category,
    Device,
    Limit,
    MaskFolder,
    MaskLabel,
    MetricSettings,
    Objects,
    RandomWeights,
    ResampleMask,
    Seed,
)
from camtool.cli.file_options import AS_THEY_ARE, FileOptions, reads_files
from camtool.cli.readings import reading_files
from camtool.errors import DataError, warn

if TYPE_CHECKING:
    from camtool.evaluation import Results

_MOST_REASONS = 2  # in a warning: many name a path


@reads_files
def evaluate(
    store: Annotated[
        Path, typer.Argument(metavar="STORE|CONFIG", help="Folder that 'camtool run' has written; with --data the config of a network.")
    ],
    metrics: Annotated[list[str], typer.Option("--metrics", metavar="NAME…", help="Such as deletion road energy, or all.")],
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="Explain this first, as 'camtool run' does, into DIR/maps of --out DIR.")
    ] = None,
    target_category: Category = "predicted",
    config: Annotated[
        str | None, typer.Option("--config", metavar="CONFIG", help="The run's: its preprocessing, and its network where a metric runs it.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", metavar="FILE", help="The run's weights.")] = None,
    random_weights: RandomWeights = False,
    masks: MaskFolder = None,
    label: MaskLabel = None,
    resample_mask: ResampleMask = False,
    annotations: AnnotationsPath = None,
    annotations_kind: AnnotationsKind = None,
    objects: Objects = "union",
    set_: MetricSettings = None,
    method: Methods = None,
    layer: Layers = None,
    limit: Limit = None,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    files: FileOptions = AS_THEY_ARE,
    device: Device = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder of the scores. Left out: <STORE>-eval.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score the maps of a store, beside random, centre and edge baselines: means with intervals, by class, and paired tests.

    The same command again goes on where it was interrupted.
    """
    with session(as_json=as_json, debug=debug) as running:
        from camtool.apis.model import ModelRequest, quiet_libraries
        from camtool.cli.progress import drawn_progress
        from camtool.evaluation import Results, Scoring, chosen_metrics
        from camtool.evaluation.metric import METHOD, NETWORK
        from camtool.evaluation.protocols import agree, score_files

        if not debug:
            quiet_libraries()
        chosen = chosen_metrics(metrics, _settings(set_ or []))
        if data is not None:
            if out is None:
                raise DataError("Expected --out DIR with --data, for the maps and their scores.")
            config = config or str(store)
        request = None
        if config is not None:
            request = reading_files(ModelRequest(os.path.expanduser(config)), files)
        if data is not None and request is not None and out is not None:
            explaining = {"method": method, "target_layers": layer, "device": device, "random_weights": random_weights, "seed": seed}
            store = made_store(request, checkpoint, data, out, target_category, limit, batch_size, **explaining)
            method, layer = None, None  # those of the store
        analysis = Analysis(store, _folder(store, out), method, layer)
        check_read_alike(analysis.store, files)
        given = Given(masks, label, resample_mask, annotations, annotations_kind, objects)
        needs_network = any(metric.needs in (NETWORK, METHOD) for metric in chosen)
        explainer = made_explainer(request, checkpoint, analysis, device, random_weights=random_weights) if needs_network else None
        material = material_of(analysis.store, request, given, explainer, analysis.class_names)
        chosen = possible(chosen, material, running) if "all" in metrics else chosen
        scoring = Scoring(analysis.store, analysis.sources, chosen, material, seed, batch_size, limit)
        digests = {"network": digest_of_network(explainer), "masks": given.digest()}
        new = [folder for folder in (analysis.out, *(analysis.out / metric.name for metric in chosen)) if not folder.exists()]
        agree(scoring, analysis.out, **digests)
        with drawn_progress() as draw:
            scoring.write(analysis.out, None if draw is None else lambda done, total: draw("shards", done, total))
        results = Results.read(score_files(scoring, analysis.out), chosen, seed=seed)
        with removing(new):  # else their protocol would stand in the way of the right one
            _tell_failures(results)
        tables = {"summary": results.summary(), "comparisons": results.comparisons()}
        written = analysis.write(_files(analysis, results, tables))
        shown = tables if as_json else {"summary": tables["summary"]}
        report(running, analysis, shown, written, as_json=as_json)


def _folder(store: Path, out: Path | None) -> Path:
    if out is not None:
        return out
    folder = Path(os.path.abspath(os.path.expanduser(store)))
    return folder.with_name(f"{folder.name}-eval")


def _settings(given: Sequence[str]) -> dict[str, Any]:
    from camtool.config.overrides import parse_options

    return parse_options(given, flag="--set")


def _tell_failures(results: "Results") -> None:
    """Warn of maps without a score; DataError if none has one."""
    if all(len(one.scores) == sum(one.reasons.values()) for one in results.series.values()):
        reasons = [reason for one in results.series.values() for reason in one.reasons]
        raise DataError(f"No map has a score: {reasons[0] if reasons else 'the store has no maps of these samples'}")
    told: set[str] = set()  # of baselines nothing: what is missing of them is missing of the maps, too, or is no wonder
    for of, one in results.series.items():
        new = {reason: count for reason, count in one.reasons.items() if reason not in told}
        told.update(new)
        if not new or of.baseline:
            continue
        first, rest = sorted(new, key=lambda known: -new[known])[:_MOST_REASONS], len(new) - _MOST_REASONS
        others = f" Other reasons, {rest} in all, stand in the scores' column 'reason'." if rest > 0 else ""
        warn(f"{sum(new.values())} of {len(one.scores)} maps of {of} have no {of.metric}: {' '.join(first)}{others}")


def _files(analysis: Analysis, results: "Results", tables: dict[str, list[dict[str, Any]]]) -> dict[str, bytes]:
    from camtool.evaluation.results import SHARES
    from camtool.visualization.bands import Band, draw_bands
    from camtool.visualization.bars import Bar, draw_bars

    files = {"summary.csv": csv_of(tables["summary"]), "by_class.csv": csv_of(results.by_class())}
    if tables["comparisons"]:
        files["comparisons.csv"] = csv_of(tables["comparisons"])
    for metric in results.metrics:
        series = {of: row for of, row in zip(results.series, tables["summary"], strict=True) if of.metric == metric.name}
        bars = [Bar(str(of), _number(row["mean"]), _number(row["low"]), _number(row["high"]), of.baseline) for of, row in series.items()]
        better = f", {metric.better} is better" if metric.better else ""
        what = "mean" if metric.counted is None else "of the data set"
        files[f"figs/{metric.name}.png"] = draw_bars(bars, f"{metric.name}{better}; {what} and 95 % interval")
        own = {str(of): (results.series[of], of.baseline) for of in series}
        curves = {name: (one.curves, faint) for name, (one, faint) in own.items() if one.curves is not None}
        lowest = {name: (one.lerf, faint) for name, (one, faint) in own.items() if one.lerf is not None}
        for kind, drawn, order in (("", curves, ", highest first" if lowest else ""), ("_lerf", lowest, ", lowest first")):
            bands = [Band(name, *curve.band(), faint) for name, (curve, faint) in drawn.items()]
            if bands:
                across = f"{metric.name}: share of positions{order}"
                files[f"figs/{metric.name}{kind}_curves.png"] = draw_bands(SHARES, bands, across, "explained score")
    return files


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
