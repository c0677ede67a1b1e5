"""Scores of maps against what is known of the samples, and against what the network does with altered inputs."""

from camtool.metrics.accumulators import MeanOfScores as MeanOfScores
from camtool.metrics.accumulators import MeanScore as MeanScore
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
from camtool.metrics.overlap import OVERLAPS as OVERLAPS
from camtool.metrics.overlap import ioa as ioa
from camtool.metrics.overlap import iou as iou
from camtool.metrics.overlap import wioa as wioa
from camtool.metrics.perturbation import faithfulness_correlation as faithfulness_correlation
from camtool.metrics.perturbation import infidelity as infidelity
from camtool.metrics.perturbation import max_sensitivity as max_sensitivity
from camtool.metrics.randomised_layers import emprt as emprt
from camtool.metrics.randomised_layers import randomisation as randomisation
from camtool.metrics.removal import road as road
from camtool.metrics.removal import road_curves as road_curves
from camtool.metrics.thresholds import attended as attended
from camtool.metrics.thresholds import otsu_threshold as otsu_threshold
from camtool.metrics.thresholds import scaled as scaled

__all__ = ["OVERLAPS", "attended", "ioa", "iou", "otsu_threshold", "scaled", "wioa"]
__all__ += ["MaskedScores", "ScoreCurves", "adcc", "average_drop", "deletion", "deletion_curves", "emprt", "faithfulness_correlation"]
__all__ += ["gain", "increase", "infidelity", "insertion", "insertion_curves", "masked_scores", "max_sensitivity", "randomisation"]
__all__ += ["road", "road_curves"]
__all__ += ["MeanOfScores", "MeanScore"]
