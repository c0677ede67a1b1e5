"""Evaluation: are the maps of a store right? Scores by every metric, with intervals and comparisons."""

from camtool.evaluation.baselines import BASELINES as BASELINES
from camtool.evaluation.baselines import baseline_maps as baseline_maps
from camtool.evaluation.counted import Counted as Counted
from camtool.evaluation.metric import METRICS as METRICS
from camtool.evaluation.metric import Metric as Metric
from camtool.evaluation.metric import chosen_metrics as chosen_metrics
from camtool.evaluation.requirements import Requirement as Requirement
from camtool.evaluation.requirements import parse_requirement as parse_requirement
from camtool.evaluation.results import Results as Results
from camtool.evaluation.scoring import Material as Material
from camtool.evaluation.scoring import Scoring as Scoring
from camtool.evaluation.statistics import Interval as Interval
from camtool.evaluation.statistics import PairedTest as PairedTest
from camtool.evaluation.statistics import counted_interval as counted_interval
from camtool.evaluation.statistics import counted_tests as counted_tests
from camtool.evaluation.statistics import holm as holm
from camtool.evaluation.statistics import interval as interval
from camtool.evaluation.statistics import paired_tests as paired_tests

__all__ = [
    "BASELINES",
    "METRICS",
    "Counted",
    "Interval",
    "Material",
    "Metric",
    "PairedTest",
    "Requirement",
    "Results",
    "Scoring",
    "baseline_maps",
    "chosen_metrics",
    "counted_interval",
    "counted_tests",
    "holm",
    "interval",
    "paired_tests",
    "parse_requirement",
]
