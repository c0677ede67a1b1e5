"""Scores of maps against what is known of the samples, and against what the network does with altered inputs."""

from camtool.metrics.accumulators import MeanOfScores as MeanOfScores
from camtool.metrics.accumulators import MeanScore as MeanScore
from camtool.metrics.accumulators import SummedScore as SummedScore
from camtool.metrics.baseline_maps import center_maps as center_maps
from camtool.metrics.baseline_maps import edge_maps as edge_maps
from camtool.metrics.baseline_maps import random_maps as random_maps
from camtool.metrics.box_accuracy import BoxAccuracy as BoxAccuracy
from camtool.metrics.box_accuracy import max_box_accuracy as max_box_accuracy
from camtool.metrics.concentration import complexity as complexity
from camtool.metrics.concentration import sparseness as sparseness
from camtool.metrics.curves import ScoreCurves as ScoreCurves
from camtool.metrics.curves import deletion as deletion
from camtool.metrics.curves import deletion_curves as deletion_curves
from camtool.metrics.curves import insertion as insertion
from camtool.metrics.curves import insertion_curves as insertion_curves
from camtool.metrics.masking import MaskedScores as MaskedScores
from camtool.metrics.masking import adcc as adcc
from camtool.metrics.masking import average_drop as average_drop
from camtool.metrics.masking import gain as gain
from camtool.metrics.masking import increase as increase
from camtool.metrics.masking import masked_scores as masked_scores
from camtool.metrics.mass import energy as energy
from camtool.metrics.mass import rank_accuracy as rank_accuracy
from camtool.metrics.mosaics import focus as focus
from camtool.metrics.mosaics import mosaic as mosaic
from camtool.metrics.overlap import OVERLAPS as OVERLAPS
from camtool.metrics.overlap import ioa as ioa
from camtool.metrics.overlap import iou as iou
from camtool.metrics.overlap import wioa as wioa
from camtool.metrics.pairs import by_class as by_class
from camtool.metrics.pairs import mean_of_classes as mean_of_classes
from camtool.metrics.perturbation import faithfulness_correlation as faithfulness_correlation
from camtool.metrics.perturbation import infidelity as infidelity
from camtool.metrics.perturbation import max_sensitivity as max_sensitivity
from camtool.metrics.pixel_precision import PixelPrecision as PixelPrecision
from camtool.metrics.pixel_precision import pxap as pxap
from camtool.metrics.pointing_game import pointing as pointing
from camtool.metrics.randomised_layers import emprt as emprt
from camtool.metrics.randomised_layers import randomisation as randomisation
from camtool.metrics.removal import road as road
from camtool.metrics.removal import road_curves as road_curves
from camtool.metrics.thresholds import attended as attended
from camtool.metrics.thresholds import otsu_threshold as otsu_threshold
from camtool.metrics.thresholds import scaled as scaled

__all__ = [
    "OVERLAPS",
    "BoxAccuracy",
    "MaskedScores",
    "MeanOfScores",
    "MeanScore",
    "PixelPrecision",
    "ScoreCurves",
    "SummedScore",
    "adcc",
    "attended",
    "average_drop",
    "by_class",
    "center_maps",
    "complexity",
    "deletion",
    "deletion_curves",
    "edge_maps",
    "emprt",
    "energy",
    "faithfulness_correlation",
    "focus",
    "gain",
    "increase",
    "infidelity",
    "insertion",
    "insertion_curves",
    "ioa",
    "iou",
    "masked_scores",
    "max_box_accuracy",
    "max_sensitivity",
    "mean_of_classes",
    "mosaic",
    "otsu_threshold",
    "pointing",
    "pxap",
    "random_maps",
    "randomisation",
    "rank_accuracy",
    "road",
    "road_curves",
    "scaled",
    "sparseness",
    "wioa",
]
