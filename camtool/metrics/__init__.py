"""Scores of maps against what is known of the samples."""

from camtool.metrics.overlap import OVERLAPS as OVERLAPS
from camtool.metrics.overlap import ioa as ioa
from camtool.metrics.overlap import iou as iou
from camtool.metrics.overlap import wioa as wioa
from camtool.metrics.thresholds import attended as attended
from camtool.metrics.thresholds import otsu_threshold as otsu_threshold
from camtool.metrics.thresholds import scaled as scaled

__all__ = ["OVERLAPS", "attended", "ioa", "iou", "otsu_threshold", "scaled", "wioa"]
