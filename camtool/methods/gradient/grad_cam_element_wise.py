"""Grad-CAM element-wise: HiResCAM with negative products dropped before the channels are summed; as in pytorch-grad-cam."""

from camtool.methods._base import Evidence
from camtool.methods.gradient.hires_cam import HiResCAM
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class GradCAMElementWise(HiResCAM):
    """Sums relu(gradient * activation) over channels: a channel cannot cancel another."""

    name = "gradcamelementwise"
    paper = "pytorch-grad-cam 1.5, GradCAMElementWise"

    def contributions(self, evidence: Evidence) -> Maps:
        return super().contributions(evidence).clamp(min=0)
