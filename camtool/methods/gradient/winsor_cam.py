"""Winsor-CAM: Wall et al. 2025, arXiv:2507.10846."""

from camtool.errors import MethodError
from camtool.functional import spatial_mean
from camtool.fusion import Winsorized
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class WinsorCAM(GradientMethod):
    """Mean of the Grad-CAM maps of several layers, weighted by winsorized layer importances (`camtool.fusion.Winsorized`).

    With one target layer it equals Grad-CAM. Differs from the paper: the layers are the target layers, not all convolutions.

    Args:
        percentile: percentile at which importances are clipped, 0 to 100.

    Raises:
        MethodError: if the percentile is outside of 0 to 100.

    Example:
        >>> from camtool.methods import WinsorCAM
        >>> WinsorCAM(percentile=90.0).fusion
        Winsorized(percentile=90.0)
    """

    name = "winsorcam"
    paper = "arXiv:2507.10846"

    def __init__(self, *, percentile: float = 80.0) -> None:
        self.percentile = float(percentile)
        if not 0 <= self.percentile <= 100:
            raise MethodError(f"Method '{self.name}': expected a percentile from 0 to 100, got {percentile!r}.")
        self.fusion = Winsorized(percentile=self.percentile)

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return spatial_mean(gradients)
