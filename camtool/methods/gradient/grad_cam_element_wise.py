"""Grad-CAM element-wise: HiResCAM without negative products in the sum over channels; as in pytorch-grad-cam."""

from camtool.methods._base import Evidence, GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class GradCAMElementWise(GradientMethod):
    """Sums relu(gradient * activation) over channels, so that no channel cancels another.

    Example:
        >>> import torch
        >>> from camtool.methods import Evidence, GradCAMElementWise
        >>> activations, gradients = torch.tensor([[[1.0, 2.0], [3.0, 1.0]]]), torch.tensor([[[2.0, 1.0], [-1.0, 4.0]]])
        >>> GradCAMElementWise().raw_map(Evidence(activations, gradients, lambda: None))
        tensor([[2., 6.]])
    """

    name = "gradcamelementwise"
    paper = "pytorch-grad-cam 1.5, GradCAMElementWise"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients

    def contributions(self, evidence: Evidence) -> Maps:
        return super().contributions(evidence).clamp(min=0)
