"""What the scores of a folder say: means with intervals in all and by class, methods compared, and the failures."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from camtool.evaluation.metric import Metric
from camtool.evaluation.statistics import Interval, counted_interval, counted_tests, finite_values, interval, paired_tests
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
    """Mean of curves over the shares 0, 0.01, …, 1, and its standard error; NaN at shares that no curve reaches."""

    count: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(len(SHARES)))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(len(SHARES)))

    def add(self, fractions: Sequence[float], curve: Sequence[float]) -> None:
        """Add a curve, interpolated between its fractions."""
        values = np.interp(SHARES, np.round(fractions, 6), curve, left=np.nan, right=np.nan)  # stored in float32
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
    """Of a metric that is made of a curve."""
    lerf: "MeanCurve | None" = None
    """Of ROAD that of the lowest positions first."""
    counts: list[np.ndarray | None] = field(default_factory=list)
    """Of a metric of the data set as a whole: those of each map; None where there is no score."""

    def add(self, row: ScoreRow) -> None:
        """Add a row."""
        self.maps.append((row.id, row.target))
        self.paths.append(row.path)
        self.scores.append(math.nan if row.score is None else row.score)
        # As small as they fit: a data set has thousands of these, and most are below 256.
        self.counts.append(None if row.counts is None else row.counts.astype(np.min_scalar_type(int(row.counts.max(initial=0)))))
        if row.curve is not None and row.fractions is not None:
            self.curves = self.curves or MeanCurve()
            self.curves.add(row.fractions, row.curve)
        if row.lerf is not None and row.fractions is not None:
            self.lerf = self.lerf or MeanCurve()
            self.lerf.add(row.fractions, row.lerf)
        if row.score is None:
            self.reasons[row.reason] = self.reasons.get(row.reason, 0) + 1

    def take(self, other: "Series") -> None:
        """Add the rows of another series, which have no scores."""
        self.maps += other.maps
        self.paths += other.paths
        self.scores += other.scores
        self.counts += other.counts
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count

    def by_class(self) -> dict[int | None, list[int]]:
        """Return the maps' numbers by explained class, classes ascending."""
        found: dict[int | None, list[int]] = {}
        for number, (_, target) in enumerate(self.maps):
            found.setdefault(target, []).append(number)
        return dict(sorted(found.items(), key=lambda item: -1 if item[0] is None else item[0]))

    def figure(self, metric: Metric, seed: int, numbers: Iterable[int] | None = None) -> Interval:
        """Return the metric's figure of these maps, of all by default: their mean, or what is made of their counts; with its interval."""
        chosen = range(len(self.scores)) if numbers is None else list(numbers)
        if metric.counted is None:
            return interval(finite_values(self.scores[number] for number in chosen), seed=seed)
        counts = [own for number in chosen if (own := self.counts[number]) is not None]
        stacked = np.stack(counts) if counts else np.zeros((0, 1), np.uint8)
        return counted_interval(stacked, partial(metric.counted.figure, **metric.protocol), seed=seed)


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
                    series[one].take(missing)
        order = {metric.name: place for place, metric in enumerate(metrics)}
        chosen = sorted(series, key=lambda of: (order[of.metric], of.baseline))  # stable: methods stay in the order of their rows
        return cls(metrics, {of: series[of] for of in chosen}, seed)

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each metric and method: mean with its 95 % interval, number of maps with and without a score.

        Of a metric of the data set as a whole its figure stands in the place of the mean.
        """
        return [self._entry(of, None, range(len(one.scores))) for of, one in self.series.items()]

    def figure(self, of: Scored) -> Interval:
        """Return the mean of a series, or the figure of the data set as a whole."""
        return self.series[of].figure(self._metric(of), self.seed)

    def by_class(self) -> list[dict[str, Any]]:
        """Return the rows of `summary` for each explained class."""
        return [self._entry(of, target, numbers) for of, one in self.series.items() for target, numbers in one.by_class().items()]

    def comparisons(self) -> list[dict[str, Any]]:
        """Return for each metric the paired tests of all methods and baselines on the maps that both have scores of."""
        found: list[dict[str, Any]] = []
        for metric in self.metrics:
            compared = {str(of): one for of, one in self.series.items() if of.metric == metric.name}
            if metric.counted is None:
                tests = paired_tests({name: _known(one.maps, one.scores) for name, one in compared.items()})
            else:
                counts = {name: _known(one.maps, one.counts) for name, one in compared.items()}
                tests = counted_tests(counts, partial(metric.counted.figure, **metric.protocol), seed=self.seed)
            found += [{"metric": metric.name, **_finite(vars(test))} for test in tests]
        return found

    def _metric(self, of: Scored) -> Metric:
        return next(metric for metric in self.metrics if metric.name == of.metric)

    def _entry(self, of: Scored, target: int | None, numbers: Sequence[int]) -> dict[str, Any]:
        metric = self._metric(of)
        found = self.series[of].figure(metric, self.seed, numbers)
        values = _finite({"mean": found.mean, "low": found.low, "high": found.high})
        named = {"metric": of.metric, "better": metric.better or "-", "method": of.method, "layer": of.layer, "class": target}
        return {**named, **values, "maps": found.count, "without_score": len(numbers) - found.count}


def _rows(paths: Iterable[Path]) -> Iterator[ScoreRow]:
    for path in paths:
        yield from read_scores(path)


def _known(maps: Sequence[tuple[int, int | None]], values: Sequence[Any]) -> dict[tuple[int, int | None], Any]:
    """Return values by map, without None and NaN."""
    pairs = zip(maps, values, strict=True)
    return {key: value for key, value in pairs if value is not None and not (isinstance(value, float) and math.isnan(value))}


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with None for NaN, which JSON does not have."""
    return {name: None if isinstance(value, (float, np.floating)) and not math.isfinite(value) else value for name, value in values.items()}
