"""What the scores of a folder say: means with intervals in all and by class, methods compared, and the failures."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from camtool.evaluation.metric import Metric
from camtool.evaluation.statistics import finite_values, interval, paired_tests
from camtool.store.scores import ScoreRow, read_scores

SHARES = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Scored:
    """What scores are of: a metric, and a method and layer, or a baseline."""

    metric: str
    method: str
    layer: str | None
    baseline: bool

    def __str__(self) -> str:
        return f"{self.method} at {self.layer}" if self.layer else f"{self.method}, baseline" if self.baseline else self.method


@dataclass
class MeanCurve:
    """Mean of curves over the shares 0, 0.01, …, 1, and its standard error."""

    count: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(len(SHARES)))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(len(SHARES)))

    def add(self, fractions: Sequence[float], curve: Sequence[float]) -> None:
        """Add a curve, interpolated between its fractions."""
        values = np.interp(SHARES, fractions, curve)
        self.count, self.total, self.squares = self.count + 1, self.total + values, self.squares + values**2

    def band(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (mean, low, high) at each share: the mean with 1.96 standard errors."""
        mean = self.total / self.count
        spread = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0) / max(self.count - 1, 1))
        return mean, mean - 1.96 * spread, mean + 1.96 * spread


@dataclass
class Series:
    """Scores of one method by one metric, a map each."""

    maps: list[tuple[int, int | None]] = field(default_factory=list)
    """(sample, explained class) of each."""
    paths: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """NaN where there is none."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Number of maps without a score by why."""
    curves: "MeanCurve | None" = None
    """Of a metric that is the area under a curve."""

    def add(self, row: ScoreRow) -> None:
        """Add a row."""
        self.maps.append((row.id, row.target))
        self.paths.append(row.path)
        self.scores.append(math.nan if row.score is None else row.score)
        if row.curve is not None and row.fractions is not None:
            self.curves = self.curves or MeanCurve()
            self.curves.add(row.fractions, row.curve)
        if row.score is None:
            self.reasons[row.reason] = self.reasons.get(row.reason, 0) + 1

    def by_class(self) -> dict[int | None, list[float]]:
        """Return the scores by explained class, classes ascending."""
        found: dict[int | None, list[float]] = {}
        for (_, target), score in zip(self.maps, self.scores, strict=True):
            found.setdefault(target, []).append(score)
        return dict(sorted(found.items(), key=lambda item: -1 if item[0] is None else item[0]))


@dataclass(frozen=True)
class Results:
    """Scores by what they are of, in the order of the metrics asked for and of the rows."""

    metrics: Sequence[Metric]
    series: Mapping[Scored, Series]
    seed: int = 0

    @classmethod
    def read(cls, paths: Iterable[Path], metrics: Sequence[Metric], *, seed: int = 0) -> "Results":
        """Return the scores of files; DataError if one cannot be read.

        Args:
            seed: of the intervals' resamples.
        """
        series: dict[Scored, Series] = {}
        for row in _rows(paths):
            of = Scored(row.metric, row.method, row.layer, row.baseline)
            series.setdefault(of, Series()).add(row)
        # A method that explained nothing in a shard has rows without a layer there: they are counted with those that have one.
        for of in [of for of in series if of.layer is None and not of.baseline]:
            others = [one for one in series if (one.metric, one.method) == (of.metric, of.method) and one.layer is not None]
            if others:
                missing = series.pop(of)
                for one in others:
                    for number, (key, path) in enumerate(zip(missing.maps, missing.paths, strict=True)):
                        series[one].maps.append(key)
                        series[one].paths.append(path)
                        series[one].scores.append(missing.scores[number])
                    for reason, count in missing.reasons.items():
                        series[one].reasons[reason] = series[one].reasons.get(reason, 0) + count
        order = {metric.name: place for place, metric in enumerate(metrics)}
        chosen = sorted(series, key=lambda of: (order[of.metric], of.baseline))  # stable: methods stay in the order of their rows
        return cls(metrics, {of: series[of] for of in chosen}, seed)

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each metric and method: mean with its 95 % interval, number of maps with and without a score."""
        return [_entry(of, None, self.series[of].scores, self._better(of), self.seed) for of in self.series]

    def by_class(self) -> list[dict[str, Any]]:
        """Return the rows of `summary` for each explained class."""
        return [
            _entry(of, target, scores, self._better(of), self.seed)
            for of, one in self.series.items()
            for target, scores in one.by_class().items()
        ]

    def comparisons(self) -> list[dict[str, Any]]:
        """Return for each metric the paired tests of all methods and baselines on the maps that both have scores of."""
        found: list[dict[str, Any]] = []
        for metric in self.metrics:
            scores = {
                str(of): {key: score for key, score in zip(one.maps, one.scores, strict=True) if math.isfinite(score)}
                for of, one in self.series.items()
                if of.metric == metric.name
            }
            found += [{"metric": metric.name, **_finite(vars(test))} for test in paired_tests(scores)]
        return found

    def _better(self, of: Scored) -> str:
        return next(metric.better for metric in self.metrics if metric.name == of.metric)


def _rows(paths: Iterable[Path]) -> Iterator[ScoreRow]:
    for path in paths:
        yield from read_scores(path)


def _entry(of: Scored, target: int | None, scores: Sequence[float], better: str, seed: int) -> dict[str, Any]:
    values = finite_values(scores)
    found = interval(values, seed=seed)
    numbers = _finite({"mean": found.mean, "low": found.low, "high": found.high})
    named = {"metric": of.metric, "better": better or "-", "method": of.method, "layer": of.layer, "class": target}
    return {**named, **numbers, "maps": found.count, "without_score": len(scores) - found.count}


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with None for NaN, which JSON does not have."""
    return {name: None if isinstance(value, (float, np.floating)) and not math.isfinite(value) else value for name, value in values.items()}
