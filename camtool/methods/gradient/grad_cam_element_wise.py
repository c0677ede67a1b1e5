"""Grad-CAM element-wise: HiResCAM with negative products dropped before the channels are summed; as in pytorch-grad-cam."""

from camtool.methods._base import Evidence, GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class GradCAMElementWise(GradientMethod):
    """Sums relu(gradient * activation) over channels: a channel cannot cancel another."""

    name = "gradcamelementwise"
    paper = "pytorch-grad-cam 1.5, GradCAMElementWise"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients

    def contributions(self, evidence: Evidence) -> Maps:
        return super().contributions(evidence).clamp(min=0)
