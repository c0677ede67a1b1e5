"""Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391."""

from camtool.functional import spatial_mean
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class GradCAM(GradientMethod):
    """Weights each channel by its spatially averaged gradient (eq. 1).

    Example:
        >>> import torch
        >>> from camtool.methods import GradCAM
        >>> activations, gradients = torch.tensor([[[1.0, 1.0, 2.0]]]), torch.tensor([[[3.0, -1.0, 1.0]]])
        >>> GradCAM().weights(activations, gradients)
        tensor([[[1.]]])
    """

    name = "gradcam"
    paper = "arXiv:1610.02391"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return spatial_mean(gradients)
