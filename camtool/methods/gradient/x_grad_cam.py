"""XGrad-CAM: Fu et al. 2020, "Axiom-based Grad-CAM", arXiv:2008.02312."""

from camtool.functional import spatial_sum
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights

EPS = 1e-7  # pytorch-grad-cam's XGradCAM


@METHODS.register_module()
class XGradCAM(GradientMethod):
    """Weights each channel by the mean of its gradients, weighted by the normalised activations (eq. 8).

    Example:
        >>> import torch
        >>> from camtool.methods import XGradCAM
        >>> activations, gradients = torch.tensor([[[1.0, 1.0, 2.0]]]), torch.tensor([[[3.0, -1.0, 1.0]]])
        >>> XGradCAM().weights(activations, gradients)
        tensor([[[1.]]])
    """

    name = "xgradcam"
    paper = "arXiv:2008.02312"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return spatial_sum(gradients * activations) / (spatial_sum(activations) + EPS)
