"""Eigen-CAM: Muhammad & Yeasin 2020, arXiv:2008.00299."""

from camtool.functional import first_component
from camtool.methods._base import BaseMethod, Evidence
from camtool.registry import METHODS
from camtool.types import Maps, RawMap


@METHODS.register_module()
class EigenCAM(BaseMethod):
    """Projects the activations on their first principal component over channels, the same for every class (sec. III).

    Example:
        >>> import torch
        >>> from camtool.methods import EigenCAM
        >>> EigenCAM().collapse(torch.tensor([[[0.0, 3.0, 6.0]]]))  # one channel: its values less their mean
        tensor([[-3.,  0.,  3.]])
    """

    name = "eigencam"
    paper = "arXiv:2008.00299"
    cost = "1 forward"
    class_discriminative = False

    def contributions(self, evidence: Evidence) -> Maps:
        return evidence.activations

    def collapse(self, contributions: Maps) -> RawMap:
        return first_component(contributions)
