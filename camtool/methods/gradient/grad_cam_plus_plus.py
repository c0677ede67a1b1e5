"""Grad-CAM++: Chattopadhyay et al. 2018, arXiv:1710.11063."""

import torch

from camtool.functional import spatial_sum
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights

EPS = 1e-6  # pytorch-grad-cam's GradCAMPlusPlus


@METHODS.register_module(name=["GradCAMPlusPlus", "GradCAMpp"])
class GradCAMPlusPlus(GradientMethod):
    """Weights each channel by its positive gradients, each with its own coefficient alpha (eqs. 10 and 19).

    Differs from eq. 19: the derivatives are those of the score itself, as in every implementation, not of its exponential;
    alpha is 0 where the gradient is 0.
    """

    name = "gradcam++"
    paper = "arXiv:1710.11063"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        squared, cubed = gradients**2, gradients**3
        alpha = squared / (2 * squared + spatial_sum(activations) * cubed + EPS)
        alpha = torch.where(gradients != 0, alpha, torch.zeros_like(alpha))
        return spatial_sum(alpha * gradients.clamp(min=0))
