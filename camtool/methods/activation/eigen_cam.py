"""Eigen-CAM: Muhammad & Yeasin 2020, arXiv:2008.00299."""

from camtool.functional import first_component
from camtool.methods._base import BaseMethod, Evidence
from camtool.registry import METHODS
from camtool.types import Maps, RawMap


@METHODS.register_module()
class EigenCAM(BaseMethod):
    """First principal component of the activations: what varies most, whatever the class (sec. III)."""

    name = "eigencam"
    paper = "arXiv:2008.00299"
    cost = "1 forward"
    class_discriminative = False

    def contributions(self, evidence: Evidence) -> Maps:
        return evidence.activations

    def collapse(self, contributions: Maps) -> RawMap:
        return first_component(contributions)
