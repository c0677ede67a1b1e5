"""Scores of maps against what is known of the samples."""

from camtool.metrics.baseline_maps import center_maps as center_maps
from camtool.metrics.baseline_maps import edge_maps as edge_maps
from camtool.metrics.baseline_maps import random_maps as random_maps
from camtool.metrics.box_accuracy import BoxAccuracy as BoxAccuracy
from camtool.metrics.box_accuracy import max_box_accuracy as max_box_accuracy
from camtool.metrics.concentration import complexity as complexity
from camtool.metrics.concentration import sparseness as sparseness
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
from camtool.metrics.pixel_precision import PixelPrecision as PixelPrecision
from camtool.metrics.pixel_precision import pxap as pxap
from camtool.metrics.pointing_game import pointing as pointing
from camtool.metrics.thresholds import attended as attended
from camtool.metrics.thresholds import otsu_threshold as otsu_threshold
from camtool.metrics.thresholds import scaled as scaled

__all__ = [
    "OVERLAPS",
    "BoxAccuracy",
    "PixelPrecision",
    "attended",
    "by_class",
    "center_maps",
    "complexity",
    "edge_maps",
    "energy",
    "focus",
    "ioa",
    "iou",
    "max_box_accuracy",
    "mean_of_classes",
    "mosaic",
    "otsu_threshold",
    "pointing",
    "pxap",
    "random_maps",
    "rank_accuracy",
    "scaled",
    "sparseness",
    "wioa",
]
