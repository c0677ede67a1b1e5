"""Methods compared over several metrics at once: mean ranks, and what lies above baselines, with intervals over the samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from camtool.evaluation.statistics import CONFIDENCE, RESAMPLES, Interval

DIGITS = 5
"""Decimals to which means are compared: methods whose maps differ by rounding alone share a place."""


@dataclass(frozen=True)
class Comparison:
    """Methods and baselines by metrics, each sample's score: the same samples are drawn for all in a resample.

    Args:
        scores: by method, and in it by metric and sample; a sample without a score is left out.
        better: by metric "higher" or "lower".
        seed: of the resamples.

    Example:
        >>> from camtool.evaluation.ranks import Comparison
        >>> scores = {"good": {"iou": {0: 0.8, 1: 0.9}}, "bad": {"iou": {0: 0.1, 1: 0.3}}}
        >>> compared = Comparison(scores, {"iou": "higher"})
        >>> {method: rank.mean for method, rank in compared.mean_ranks().items()}, compared.above(["bad"])
        ({'good': 1.0, 'bad': 2.0}, {'good': 1, 'bad': 0})
    """

    scores: Mapping[str, Mapping[str, Mapping[int, float]]]
    better: Mapping[str, str]
    seed: int = 0

    def mean_ranks(self, left_out: "frozenset[str]" = frozenset()) -> dict[str, Interval]:
        """Return by method the mean over metrics of its place, 1 the best, with its 95 % percentile bootstrap interval over samples.

        Ties share their mean place; a method without a score by a metric comes last by it.

        Args:
            left_out: methods that have no place.
        """
        from scipy.stats import rankdata

        chosen = [method for method in self.scores if method not in left_out]
        places = [rankdata(np.where(np.isnan(costs), np.inf, costs), axis=1) for costs in (self._costs(m, chosen) for m in self.better)]
        ranks = np.mean(places, axis=0)
        return {method: _interval(ranks[:, number], len(places)) for number, method in enumerate(chosen)}

    def above(self, baselines: "list[str]") -> dict[str, int]:
        """Return by method by how many metrics it is better than each baseline in 97.5 % of the resamples."""
        others = [method for method in self.scores if method not in baselines]
        count = dict.fromkeys(self.scores, 0)
        for metric in self.better:
            costs = self._costs(metric, [*others, *baselines])[1:]
            best = np.nanmin(np.where(np.isnan(costs), np.inf, costs)[:, len(others) :], axis=1)
            for number, method in enumerate(others):
                count[method] += bool(np.mean(costs[:, number] < best) >= 1 - (1 - CONFIDENCE) / 2)
        return count

    def _costs(self, metric: str, methods: "list[str]") -> Float[np.ndarray, "rows methods"]:
        """Return the mean score by each method, negative where higher is better: of all samples, then of each resample; NaN without one."""
        samples = sorted({sample for by_metric in self.scores.values() for by_sample in by_metric.values() for sample in by_sample})
        values = np.array([[self.scores[m].get(metric, {}).get(sample, math.nan) for m in methods] for sample in samples])
        drawn = np.random.default_rng(self.seed).multinomial(len(samples), np.full(len(samples), 1 / len(samples)), RESAMPLES)
        weights = np.concatenate([np.ones((1, len(samples))), drawn])
        known = weights @ np.isfinite(values)
        means = np.divide(weights @ np.nan_to_num(values), known, out=np.full(known.shape, np.nan), where=known > 0)
        return np.asarray(np.round(means if self.better[metric] == "lower" else -means, DIGITS))


def _interval(ranks: Float[np.ndarray, " rows"], count: int) -> Interval:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(ranks[1:], [tail, 100 - tail])
    return Interval(float(ranks[0]), float(low), float(high), count)
