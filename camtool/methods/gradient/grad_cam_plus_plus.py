"""Grad-CAM++: Chattopadhyay et al. 2018, arXiv:1710.11063."""

import torch

from camtool.functional import spatial_sum
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights

EPS = 1e-6  # pytorch-grad-cam's GradCAMPlusPlus


@METHODS.register_module(name=["GradCAMPlusPlus", "GradCAMpp"])
class GradCAMPlusPlus(GradientMethod):
    """Weights each channel by the sum of its positive gradients, each with a coefficient alpha (eqs. 10 and 19).

    Differs from eq. 19: the derivatives are those of the score itself, as in every implementation, not of its exponential;
    alpha is 0 where the gradient is 0.

    Example:
        >>> import torch
        >>> from camtool.methods import GradCAMPlusPlus
        >>> activations, gradients = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, -1.0]]])
        >>> GradCAMPlusPlus().weights(activations, gradients)  # 1 / (2 + 2), the negative gradient left out
        tensor([[[0.2500]]])
    """

    name = "gradcam++"
    paper = "arXiv:1710.11063"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return plus_plus_weights(activations, gradients, gradients**2, gradients**3)


def plus_plus_weights(activations: Maps, first: Maps, second: Maps, third: Maps) -> Weights:
    """Return Grad-CAM++'s channel weights (n, c, 1, ...) from the derivatives of first, second and third order."""
    alpha = second / (2 * second + spatial_sum(activations) * third + EPS)
    alpha = torch.where(second != 0, alpha, torch.zeros_like(alpha))
    return spatial_sum(alpha * first.clamp(min=0))
