"""Eigen-Grad-CAM: Eigen-CAM (arXiv:2008.00299) of gradient * activation; as in pytorch-grad-cam."""

from camtool.functional import first_component
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, RawMap, Weights


@METHODS.register_module()
class EigenGradCAM(GradientMethod):
    """First principal component of gradient * activation: Eigen-CAM that knows the class."""

    name = "eigengradcam"
    paper = "pytorch-grad-cam 1.5, EigenGradCAM"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients

    def collapse(self, contributions: Maps) -> RawMap:
        return first_component(contributions)
