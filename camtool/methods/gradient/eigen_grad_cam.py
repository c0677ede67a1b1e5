"""Eigen-Grad-CAM: Eigen-CAM (arXiv:2008.00299) of gradient * activation; as in pytorch-grad-cam."""

from camtool.functional import first_component
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, RawMap, Weights


@METHODS.register_module()
class EigenGradCAM(GradientMethod):
    """Projects gradient * activation on its first principal component over channels.

    Example:
        >>> import torch
        >>> from camtool.methods import EigenGradCAM, Evidence
        >>> evidence = Evidence(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[0.0, 1.5, 2.0]]]), lambda: None)
        >>> EigenGradCAM().raw_map(evidence)  # one channel: the products 0, 3, 6 less their mean
        tensor([[-3.,  0.,  3.]])
    """

    name = "eigengradcam"
    paper = "pytorch-grad-cam 1.5, EigenGradCAM"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients

    def collapse(self, contributions: Maps) -> RawMap:
        return first_component(contributions)
