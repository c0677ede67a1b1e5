"""LIFT-CAM: Jung & Oh 2021, "Towards Better Explanations of Class Activation Mapping", arXiv:2102.05228."""

from collections.abc import Sequence

from camtool.functional import spatial_sum
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class LIFTCAM(BaseMethod):
    """Weights each channel by its DeepLIFT contribution to the score relative to zero activations.

    The weights sum to the score minus that of zero activations. It takes one forward and one backward pass of the network's tail.

    Raises:
        MethodError: if they do not, because DeepLIFT's rescale rule is not defined for a function downstream (attention, LayerNorm).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # class scores: the channels' means
        >>> picture = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[8.0, 0.0], [0.0, 0.0]]]])
        >>> CAM(model, "[0]", "liftcam")(picture, 0).maps
        tensor([[[0.0000, 0.2500],
                 [0.5000, 1.0000]]])
    """

    name = "liftcam"
    paper = "arXiv:2102.05228"
    cost = "1 forward + tail and its backward"
    needs = Needs(replay=True)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return 2

    def contributions(self, evidence: Evidence) -> Maps:
        return spatial_sum(evidence.queries(self.name).contributions_from_zero()) * evidence.activations
