"""Ablation-CAM: Desai & Ramaswamy 2020, "Visual Explanations for Deep Convolutional Network via Gradient-free Localization"."""

from collections.abc import Sequence

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._ablations import OneChannelZero
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class AblationCAM(BaseMethod):
    """Weights each channel by the drop of the score when the channel is set to zero.

    Differs from the paper: the drop is not divided by the score, a constant that normalising cancels, and that inverts the map if the
    score is negative. Extra tokens (class, distillation) keep the channel.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # class scores: the channels' means
        >>> picture = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[8.0, 0.0], [0.0, 0.0]]]])
        >>> CAM(model, "[0]", "ablationcam")(picture, 0).maps
        tensor([[[0.0000, 0.2500],
                 [0.5000, 1.0000]]])
    """

    name = "ablationcam"
    paper = "doi:10.1109/WACV45572.2020.9093360"
    cost = "C tails"
    needs = Needs(replay=True, same_queries_for_all_targets=True)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return channels

    def contributions(self, evidence: Evidence) -> Maps:
        activations, queries = evidence.activations, evidence.queries(self.name)
        without = queries.scores_of_activations(activations.shape[1], OneChannelZero(activations))
        weights = queries.scores.unsqueeze(1) - without  # (n, c)
        return weights.reshape(*weights.shape, *[1] * (activations.ndim - 2)) * activations
