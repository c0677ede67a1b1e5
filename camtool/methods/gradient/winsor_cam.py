"""Winsor-CAM: Wall et al. 2025, arXiv:2507.10846."""

from camtool.functional import spatial_mean
from camtool.fusion import Winsorized
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class WinsorCAM(GradientMethod):
    """Grad-CAM of several target layers, their mean weighted by importances of which none stands out (`camtool.fusion.Winsorized`).

    With one target layer it is Grad-CAM. Differs from the paper: the layers are those asked for, not all convolutions.

    Args:
        percentile: at which importances are cut off, 0 to 100.
    """

    name = "winsorcam"
    paper = "arXiv:2507.10846"

    def __init__(self, *, percentile: float = 80.0) -> None:
        self.fusion = Winsorized(percentile=float(percentile))

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return spatial_mean(gradients)
