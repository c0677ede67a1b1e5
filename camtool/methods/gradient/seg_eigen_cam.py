"""Seg-Eigen-CAM: Chung & Ying 2025, Applied Sciences 15(13), 7562."""

import torch

from camtool.functional import UNDECIDED, first_component
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, RawMap, Weights


@METHODS.register_module()
class SegEigenCAM(GradientMethod):
    """Projects abs(gradient) * activation on its first principal component over channels (eq. 10).

    The sign is chosen so that the largest deviation is positive (eq. 13). Differs from eq. 13 where the largest deviations of both signs
    are equal but for rounding: there the sign is that of Eigen-CAM.

    Example:
        >>> import torch
        >>> from camtool.methods import SegEigenCAM
        >>> SegEigenCAM().collapse(torch.tensor([[[0.0, 5.0, 4.0]]]))  # one channel: -3, 2, 1 about the mean, turned
        tensor([[ 3., -2., -1.]])
    """

    name = "segeigencam"
    paper = "doi:10.3390/app15137562"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients.abs()

    def collapse(self, contributions: Maps) -> RawMap:
        component = first_component(contributions)
        axes = tuple(range(1, component.ndim))
        lowest, highest = component.amin(dim=axes, keepdim=True), component.amax(dim=axes, keepdim=True)
        return torch.where(lowest.abs() > highest.abs() * (1 + UNDECIDED), -component, component)

    def collapse_smoothly(self, contributions: Maps) -> RawMap:
        return self.collapse(contributions)  # already a principal component
