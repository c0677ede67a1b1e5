"""Scores of maps against what is known of the samples, and against what the network does with altered inputs."""

from camtool.metrics.curves import ScoreCurves as ScoreCurves
from camtool.metrics.curves import deletion as deletion
from camtool.metrics.curves import deletion_curves as deletion_curves
from camtool.metrics.curves import insertion as insertion
from camtool.metrics.curves import insertion_curves as insertion_curves
from camtool.metrics.overlap import OVERLAPS as OVERLAPS
from camtool.metrics.overlap import ioa as ioa
from camtool.metrics.overlap import iou as iou
from camtool.metrics.overlap import wioa as wioa
from camtool.metrics.thresholds import attended as attended
from camtool.metrics.thresholds import otsu_threshold as otsu_threshold
from camtool.metrics.thresholds import scaled as scaled

__all__ = ["OVERLAPS", "attended", "ioa", "iou", "otsu_threshold", "scaled", "wioa"]
__all__ += ["ScoreCurves", "deletion", "deletion_curves", "insertion", "insertion_curves"]
