"""Eigen-CAM: Muhammad & Yeasin 2020, arXiv:2008.00299."""

import torch

from camtool.functional import first_component
from camtool.methods._base import ActivationMethod
from camtool.registry import METHODS
from camtool.types import Maps, RawMap, Weights


@METHODS.register_module()
class EigenCAM(ActivationMethod):
    """First principal component of the activations: what varies most, whatever the class (sec. III)."""

    name = "eigencam"
    paper = "arXiv:2008.00299"

    def weights(self, activations: Maps) -> Weights:
        return torch.ones_like(activations[:1, :1])

    def collapse(self, contributions: Maps) -> RawMap:
        return first_component(contributions)
