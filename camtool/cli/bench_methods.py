"""`camtool bench-methods`: which method for which network, measured where it is known what the network should see."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.analyze import Debug, Json
from camtool.cli.command import session
from camtool.cli.evaluation_options import BatchSize, Device, MetricSettings, RandomWeights, Seed
from camtool.cli.markers import around_markers, markers, write_between
from camtool.errors import closest

if TYPE_CHECKING:
    from camtool.evaluation import Metric
    from camtool.evaluation.methods_table import MethodScores


def bench_methods(
    config: Annotated[str, options.CONFIG],
    checkpoint: Annotated[str | None, options.CHECKPOINT] = None,
    method: Annotated[list[str] | None, typer.Option("--method", metavar="NAME…", help="Left out: all.")] = None,
    metrics: Annotated[list[str] | None, typer.Option("--metrics", metavar="NAME…", help="Left out: all.")] = None,
    random_weights: RandomWeights = False,
    set_: MetricSettings = None,
    scenes: Annotated[int, typer.Option("--scenes", min=2, help="Held-out scenes.")] = 100,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    device: Device = "cpu",
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write the table between the marker lines of the config's name in this file."),
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
        trial = Trial(os.path.expanduser(config), checkpoint, method or known, chosen, scenes, seed, batch_size, device, random_weights)
        with tempfile.TemporaryDirectory(prefix="camtool-bench-") as folder, drawn_progress() as draw:
            found = list(trial.scores(Path(folder), draw))
        if file and around:
            write_between(file, around, markdown_table(found, chosen))
            running.remark(f"Saved: {file}")
        if as_json:
            entries = [{"method": one.method, "layer": one.layer, "reason": one.reason, "scores": dict(one.scores)} for one in found]
            print_json(running, {"scenes": scenes, "methods": entries, "warnings": running.warnings})
        elif not file:
            running.result(markdown_table(found, chosen))


def markdown_table(found: "Sequence[MethodScores]", metrics: "Sequence[Metric]") -> str:
    """Return Markdown: of each group of metrics a table, methods by their mean rank in it, baselines last; then what has no maps."""
    parts = []
    for needs, title in TITLES.items():
        group = [metric for metric in metrics if metric.needs == needs]
        if group:
            parts.append(f"**{title}**\n\n{_table([one for one in found if not one.reason], group)}")
    missing = [f"`{one.method}`: {one.reason}" for one in found if one.reason]
    return "\n\n".join([*parts, *([f"Without maps of this network: {' '.join(missing)}"] if missing else [])])


TITLES = {
    "mask": "Against the masks",
    "network": "By what the network does with altered inputs",
    "method": "By what the method does with altered inputs and networks",
    "map": "Of the map alone",
}
"""By what metrics need."""


def _table(scored: "Sequence[MethodScores]", metrics: "Sequence[Metric]") -> str:
    ranks = _mean_ranks([one for one in scored if not one.baseline], metrics)
    ordered = sorted(scored, key=lambda one: (one.baseline, ranks.get(id(one), 0.0)))
    is_ranked = any(metric.better for metric in metrics)
    lines = [
        f"| method | layer | mean rank | {' | '.join(f'{metric.name} {_ARROWS[metric.better]}'.rstrip() for metric in metrics)} |",
        f"|{'---|' * (len(metrics) + 3)}",
    ]
    for one in ordered:
        cells = [_cell(one.scores.get(metric.name)) for metric in metrics]
        if one.baseline and set(cells) == {_NONE}:
            continue
        name = f"*{one.method}*, {_KINDS.get(one.method, 'baseline')}" if one.baseline else f"`{one.method}`"
        rank = f"{ranks[id(one)]:.1f}" if is_ranked and not one.baseline else ""
        lines.append(f"| {name} | {f'`{one.layer}`' if one.layer else ''} | {rank} | {' | '.join(cells)} |")
    return "\n".join(lines)


_KINDS = {"object": "the truth", "background": "its opposite"}
_ARROWS = {"higher": "↑", "lower": "↓", "": ""}
_NONE = "-"


def _cell(row: Mapping[str, Any] | None) -> str:
    """Return a mean with its interval in a table: "0.327 [0.216, 0.405]"."""
    if row is None or row["mean"] is None:
        return _NONE
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _mean_ranks(methods: "Sequence[MethodScores]", metrics: "Sequence[Metric]") -> dict[int, float]:
    """Return by method the mean of its places by the metrics that say which way is better, 1 the best; last where it has no score."""
    places: dict[int, list[float]] = {id(one): [] for one in methods}
    for metric in metrics:
        if not metric.better:
            continue
        sign = -1 if metric.better == "higher" else 1
        means = {id(one): one.scores[metric.name]["mean"] for one in methods if metric.name in one.scores}
        values = {key: sign * mean for key, mean in means.items() if mean is not None}
        for one in methods:
            own = values.get(id(one))
            below = len(values) if own is None else sum(value < own for value in values.values())
            ties = 0 if own is None else sum(value == own for value in values.values()) - 1
            places[id(one)].append(1 + below + ties / 2)
    return {key: sum(of_one) / len(of_one) if of_one else 0.0 for key, of_one in places.items()}
