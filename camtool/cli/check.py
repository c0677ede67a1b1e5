"""`camtool check`: does a network look where it should? For a team's continuous integration."""

import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.analyze import Debug, Json
from camtool.cli.command import Session, session
from camtool.cli.evaluation_material import Given, material_of
from camtool.cli.evaluation_options import (
    AnnotationsKind,
    AnnotationsPath,
    BatchSize,
    Category,
    CfgOptions,
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
from camtool.errors import DataError

if TYPE_CHECKING:
    from camtool.evaluation import Requirement, Results

FAILED = 1
"""Exit code where a requirement is not met; that of errors is 2."""
_MOST_SHOWN = 20


@reads_files
def check(
    config: Annotated[str, options.CONFIG],
    checkpoint: Annotated[str | None, options.CHECKPOINT] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="DATA", help="As of 'camtool run'.")] = None,
    require: Annotated[
        list[str] | None, typer.Option("--require", metavar="CONDITION…", help="Such as 'iou >= 0.5'; of each metric's mean.")
    ] = None,
    set_: MetricSettings = None,
    each: Annotated[bool, typer.Option("--each", help="The conditions are of each sample, not of the mean.")] = False,
    masks: MaskFolder = None,
    label: MaskLabel = None,
    resample_mask: ResampleMask = False,
    annotations: AnnotationsPath = None,
    annotations_kind: AnnotationsKind = None,
    objects: Objects = "union",
    method: Annotated[str | None, typer.Option("--method", metavar="NAME", help="Left out: the config's, else gradcam.")] = None,
    target_layers: Annotated[list[str] | None, typer.Option("--target-layers", metavar="PATH…", help="Left out: the config's.")] = None,
    target_category: Category = "predicted",
    limit: Limit = None,
    batch_size: BatchSize = 16,
    seed: Seed = 0,
    random_weights: RandomWeights = False,
    cfg_options: CfgOptions = None,
    files: FileOptions = AS_THEY_ARE,
    device: Device = "cpu",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Explain a data set, and compare scores of the maps with what is required; exit code 1 if they are not met, 2 for an error."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.analysis.split_samples import has_masks
        from camtool.apis import Explainer
        from camtool.apis.model import ModelRequest, quiet_libraries
        from camtool.config.overrides import parse_options
        from camtool.datasets.splits import split_named
        from camtool.evaluation import Results, Scoring, chosen_metrics, parse_requirement
        from camtool.evaluation.cases import explained_sources
        from camtool.evaluation.metric import check_needs
        from camtool.evaluation.protocols import score_files
        from camtool.runs import run
        from camtool.store import open as open_store

        if not debug:
            quiet_libraries()
        if data is None or not require:
            raise DataError("Expected --data DATA, and --require CONDITION, such as --require 'iou >= 0.5'.")
        required = [parse_requirement(text) for text in require]
        metrics = chosen_metrics([requirement.metric for requirement in required], parse_options(set_ or [], flag="--set"))
        given = Given(masks, label, resample_mask, annotations, annotations_kind, objects)
        check_needs(metrics, masks=given.is_given or split_named(data) is not None, network=True)
        request = reading_files(ModelRequest(os.path.expanduser(config), cfg_options=cfg_options or []), files)
        explainer = Explainer(
            request.config,
            checkpoint,
            device=device,
            random_weights=random_weights,
            seed=seed,
            cfg_options=request.cfg_options,
            method=method,
            target_layers=target_layers,
        )
        check_needs(
            metrics, masks=given.is_given or has_masks(explainer.settings.loaded, split_named(data)), network=True
        )  # before maps are made
        with tempfile.TemporaryDirectory(prefix="camtool-check-") as folder:
            run(explainer, data, f"{folder}/maps", categories=target_category, batch_size=batch_size, limit=limit)
            store = open_store(f"{folder}/maps")
            material = material_of(store, request, given, explainer, store.run.get("class_names"))
            scoring = Scoring(store, explained_sources(store), metrics, material, seed, batch_size, baselines=False)
            scoring.write(Path(folder))
            results = Results.read(score_files(scoring, Path(folder)), metrics, seed=seed)
        found = [_verdict(requirement, results, each=each) for requirement in required]
        _report(running, found, each=each, as_json=as_json)
        if not all(entry["met"] for entry in found):
            raise typer.Exit(FAILED)


def _verdict(requirement: "Requirement", results: "Results", *, each: bool) -> dict[str, Any]:
    """Return whether a requirement is met, with the samples that do not meet it; DataError if no map has a score."""
    failing: list[dict[str, Any]] = []
    without: dict[str, int] = {}
    met, means = True, {}
    for of, series in results.series.items():
        if of.metric != requirement.metric:
            continue
        for reason, count in series.reasons.items():
            without[reason] = without.get(reason, 0) + count
        mean = results.figure(of).mean
        if not math.isfinite(mean):
            raise DataError(f"No map has a score by {of.metric}: {next(iter(series.reasons), 'there is no map')}")
        means[str(of)] = mean
        below = [pair for pair in zip(series.scores, series.paths, strict=True) if not requirement.holds(pair[0])]
        for score, path in sorted(below, key=lambda pair: (math.isfinite(pair[0]), pair)):
            failing.append({"path": path, "maps": str(of), "score": score if math.isfinite(score) else None})
        met = met and (not below if each else requirement.holds(means[str(of)]))
    return {"required": str(requirement), "met": met, "means": means, "samples": failing, "without_score": without}


def _report(running: Session, found: list[dict[str, Any]], *, each: bool, as_json: bool) -> None:
    from camtool.cli.report import print_json

    if as_json:
        print_json(
            running, {"met": all(entry["met"] for entry in found), "each": each, "requirements": found, "warnings": running.warnings}
        )
        return
    for entry in found:
        means = ", ".join(f"{mean:.4g} ({maps})" for maps, mean in entry["means"].items())
        running.result(f"{'met' if entry['met'] else 'NOT met'}: {entry['required']}; mean {means}")
        for reason, count in entry["without_score"].items():
            running.result(f"  {count} without a score: {reason}")
        if entry["met"]:
            continue
        for sample in entry["samples"][:_MOST_SHOWN]:
            score = "none" if sample["score"] is None else f"{sample['score']:.4g}"
            running.result(f"  {score}  {sample['path']}  {sample['maps']}")
        if len(entry["samples"]) > _MOST_SHOWN:
            running.result(f"  and {len(entry['samples']) - _MOST_SHOWN} more samples; --json has all")
