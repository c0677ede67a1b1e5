"""`camtool bench-methods`: which method for which network, measured where it is known what the network should see."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camtool.cli import options
from camtool.cli.analyze import Debug, Json
from camtool.cli.command import session
from camtool.cli.evaluation_options import BatchSize, Device, MetricSettings, RandomWeights, Seed
from camtool.cli.markers import around_markers, markers, write_between
from camtool.cli.methods_tables import GROUPS, ranks_table, scores_tables, without_maps
from camtool.errors import closest

if TYPE_CHECKING:
    from camtool.evaluation import Metric
    from camtool.evaluation.methods_table import MethodScores, Trial


def bench_methods(
    config: Annotated[str, options.CONFIG],
    checkpoint: Annotated[str | None, options.CHECKPOINT] = None,
    method: Annotated[list[str] | None, typer.Option("--method", metavar="NAME…", help="Left out: all.")] = None,
    metrics: Annotated[list[str] | None, typer.Option("--metrics", metavar="NAME…", help="Left out: all.")] = None,
    random_weights: RandomWeights = False,
    set_: MetricSettings = None,
    scenes: Annotated[int, typer.Option("--scenes", min=2, help="Held-out scenes.")] = 100,
    passes: Annotated[
        int,
        typer.Option("--passes", min=1, help="Most passes of the network for a map of each scene where methods are asked again."),
    ] = 2000,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    device: Device = "cpu",
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write the table of ranks between the marker lines of the config's name in it."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score every method by every metric on a network that was trained on shapes: means with 95 % intervals, beside baselines.

    The tolerance of pointing is 0 here, where nothing else is set: the scenes are small.
    """
    with session(as_json=as_json, debug=debug) as running:
        from camtool.apis.model import quiet_libraries
        from camtool.cli.methods import describe_methods
        from camtool.cli.progress import drawn_progress
        from camtool.cli.report import print_json
        from camtool.config.overrides import parse_options
        from camtool.errors import CamtoolError
        from camtool.evaluation import chosen_metrics
        from camtool.evaluation.methods_table import Trial

        if not debug:
            quiet_libraries()
        known = [entry["name"] for entry in describe_methods()]
        for name in method or []:
            if name not in known:
                raise CamtoolError(f"Unknown method '{name}'{closest(name, known)}; 'camtool methods' lists them.")
        settings = {"pointing.tolerance": 0} if not metrics or {"pointing", "all"} & set(metrics) else {}
        chosen = chosen_metrics(metrics or ["all"], {**settings, **parse_options(set_ or [], flag="--set")})
        pair = markers(f"bench-methods {Path(config).stem}")
        file = markdown and markdown.expanduser()
        around = around_markers(file, pair) if file else None
        trial = Trial(
            os.path.expanduser(config), checkpoint, method or known, chosen, scenes, seed, batch_size, device, random_weights, passes
        )
        with tempfile.TemporaryDirectory(prefix="camtool-bench-") as folder, drawn_progress() as draw:
            found = list(trial.scores(Path(folder), draw))
        if file and around:
            write_between(file, around, markdown_table(found, chosen, trial, set_ or []))
            running.remark(f"Saved: {file}")
        if as_json:
            keys = ("method", "layer", "reason", "asked_again", "scores")
            entries = [{key: getattr(one, key) for key in keys} for one in found]
            print_json(running, {"scenes": scenes, "methods": entries, "warnings": running.warnings})
        elif not file:
            running.result(markdown_table(found, chosen, trial, set_ or [], all_scores=True))


def markdown_table(
    found: "Sequence[MethodScores]", metrics: "Sequence[Metric]", trial: "Trial", settings: Sequence[str] = (), *, all_scores: bool = False
) -> str:
    """Return Markdown: what the table was made with, the table of ranks, and what has no maps.

    Args:
        settings: of metrics, as they were given.
        all_scores: tables of every score before these; so it is, too, if no metric has a rank.
    """
    config = Path(trial.config).name if os.path.isabs(trial.config) else trial.config
    objects = max((len(of_scene) for one in found for name, of_scene in one.by_scene.items() if name in MASKED), default=0)
    of_them = f", of which {objects} have an object," if objects else ""
    asked = " ".join(["--scenes", str(trial.scenes), "--seed", str(trial.seed), "--passes", str(trial.passes)])
    given = f" --set {' '.join(settings)}" if settings else ""
    caption = (
        f"`camtool bench-methods {config} CHECKPOINT {asked}{given}`: means over {trial.scenes} held-out scenes{of_them} of "
        "the maps of the true class, each at the method's default layer, with bootstrap intervals of 95 % over the scenes. A name of a "
        f"group stands for the mean rank by its metrics, {_groups(metrics)}, 1 the best, methods with the same scores sharing a place. "
        "(n): asked again on the first n scenes alone; -: not at all, since a map takes too many passes. Beats baselines: by how many "
        "metrics of localisation and faithfulness it is better than each of random, center and edges, in 97.5 % of the resamples."
    )
    ranks = ranks_table(found, metrics, trial.scenes, trial.seed)
    scores = scores_tables(found, metrics) if all_scores or not ranks else ""
    parts = [scores, caption if ranks else "", ranks, without_maps(found)]
    return "\n\n".join(part for part in parts if part)


MASKED = GROUPS["localisation"]


def _groups(metrics: "Sequence[Metric]") -> str:
    known = {metric.name for metric in metrics}
    chosen = {title: [name for name in names if name in known] for title, names in GROUPS.items()}
    return "; ".join(f"{title}: {', '.join(names)}" for title, names in chosen.items() if names)
