"""The tables of `camtool bench-methods`: one of ranks by what is asked of a map, and one of every score by what metrics need."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camtool.evaluation import Interval, Metric
    from camtool.evaluation.methods_table import MethodScores

GROUPS = {
    "localisation": ("energy", "pointing", "rank-accuracy", "iou"),
    "faithfulness": ("deletion", "insertion", "road", "faithfulness-correlation"),
    "robustness": ("max-sensitivity", "randomisation"),
}
"""Metrics by what they ask: does the map lie on the object; does what it shows move the score; is it steady, and of what was learnt?

Of the localisation and the faithfulness those that put the truth before noise and noise before the opposite."""
SHOWN = ("energy", "pointing", "insertion", "road", "max-sensitivity", "randomisation")
_TRUTH = {"object": "the truth", "background": "its opposite"}
_ARROWS = {"higher": "↑", "lower": "↓", "": ""}
_NONE = "-"

TITLES = {
    "mask": "Against the masks",
    "network": "By what the network does with altered inputs",
    "method": "By what the method does with altered inputs and networks",
    "map": "Of the map alone",
}
"""By what metrics need."""


def ranks_table(found: "Sequence[MethodScores]", metrics: "Sequence[Metric]", scenes: int, seed: int = 0) -> str:
    """Return Markdown: by method its mean rank in each of GROUPS with an interval, some scores, and how often it beats the baselines.

    Methods are in the order of their mean rank in localisation and faithfulness, baselines last. "" if no metric is of a group.

    Args:
        scenes: of the trial; where a method was asked again on fewer, the cell says on how many.
        seed: of the intervals.
    """
    from camtool.evaluation.ranks import Comparison

    better = {metric.name: metric.better for metric in metrics}
    groups = {title: [name for name in names if name in better] for title, names in GROUPS.items()}
    groups = {title: names for title, names in groups.items() if names}
    if not groups:
        return ""
    scored = [one for one in found if not one.reason]
    by_method = {one.method: one.by_scene for one in scored if one.method not in _TRUTH}
    baselines = [one.method for one in scored if one.baseline and one.method not in _TRUTH]
    ranks: dict[str, Mapping[str, Interval]] = {}
    for title, names in groups.items():
        unasked = [one.method for one in scored if not one.baseline and title == "robustness" and not one.asked_again]
        compared = Comparison(by_method, {name: better[name] for name in names}, seed)
        ranks[title] = compared.mean_ranks(frozenset([*baselines, *unasked])) if len(by_method) > len(unasked) + len(baselines) else {}
    right = [title for title in groups if title != "robustness"]
    counted = [name for title in right for name in groups[title]]
    above = Comparison(by_method, {name: better[name] for name in counted}, seed).above(baselines) if counted else {}

    columns = [(title, [name for name in names if name in SHOWN]) for title, names in groups.items()]
    headings = [heading for title, names in columns for heading in (title, *(f"{name} {_ARROWS[better[name]]}" for name in names))]
    lines = [f"| method | {' | '.join(headings)} | beats baselines |", f"|{'---|' * (len(headings) + 2)}"]
    place = {one.method: sum(ranks[title][one.method].mean for title in right or groups if one.method in ranks[title]) for one in scored}
    for one in sorted(scored, key=lambda one: (one.baseline, 0.0 if one.baseline else place[one.method])):
        cells = []
        for title, names in columns:
            rank = ranks[title].get(one.method)
            cells.append(f"{rank.mean:.1f} [{rank.low:.1f}, {rank.high:.1f}]" if rank else "" if one.baseline else _NONE)
            few = f" ({one.asked_again})" if title == "robustness" and 0 < one.asked_again < scenes else ""
            cells += [_cell(one.scores.get(name), 2, few) for name in names]
        beats = f"{above[one.method]} of {len(counted)}" if counted and not one.baseline else ""
        lines.append(f"| {_named(one)} | {' | '.join(cells)} | {beats} |")
    return "\n".join(lines)


def scores_tables(found: "Sequence[MethodScores]", metrics: "Sequence[Metric]") -> str:
    """Return Markdown: of each group of metrics a table, methods by their mean rank in it, baselines last."""
    parts = []
    for needs, title in TITLES.items():
        group = [metric for metric in metrics if metric.needs == needs]
        if group:
            parts.append(f"**{title}**\n\n{_table([one for one in found if not one.reason], group)}")
    return "\n\n".join(parts)


def without_maps(found: "Sequence[MethodScores]") -> str:
    """Return the methods that have no maps of the network, those of one reason together; "" if all have."""
    by_reason: dict[str, list[str]] = {}
    for one in found:
        if one.reason:
            by_reason.setdefault(one.reason.replace(f": '{one.method}'", "").replace(f" '{one.method}'", ""), []).append(f"`{one.method}`")
    missing = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    return f"Without maps of this network: {' '.join(missing)}" if missing else ""


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
        rank = f"{ranks[id(one)]:.1f}" if is_ranked and not one.baseline else ""
        lines.append(f"| {_named(one)} | {f'`{one.layer}`' if one.layer else ''} | {rank} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _named(one: "MethodScores") -> str:
    return f"*{one.method}*, {_TRUTH.get(one.method, 'baseline')}" if one.baseline else f"`{one.method}`"


def _cell(row: Mapping[str, Any] | None, digits: int = 3, few: str = "") -> str:
    """Return a mean with its interval in a table: "0.327 [0.216, 0.405]"."""
    if row is None or row["mean"] is None:
        return _NONE
    mean, low, high = (f"{row[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]{few}"


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
