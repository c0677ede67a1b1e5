"""Recipro-CAM: Byun & Lee 2022, arXiv:2209.14074; on tokens ViT-ReciproCAM, arXiv:2310.02588."""

from collections.abc import Sequence

import torch

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._ablations import OnePositionKept
from camtool.registry import METHODS
from camtool.types import RawMap


@METHODS.register_module()
class ReciproCAM(BaseMethod):
    """Scores each position by the network's score when all other positions of the layer are zero.

    Differs from the papers: one position is kept, not a Gaussian around it, and the score of a layer of zeros is subtracted, so that the
    sign has a meaning. Extra tokens (class, distillation) are always kept.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # class scores: the channels' means
        >>> picture = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[8.0, 0.0], [0.0, 0.0]]]])
        >>> CAM(model, "[0]", "reciprocam")(picture, 0).maps
        tensor([[[0.0000, 0.2500],
                 [0.5000, 1.0000]]])
    """

    name = "reciprocam"
    paper = "arXiv:2209.14074"
    cost = "N tails"
    needs = Needs(replay=True, same_queries_for_all_targets=True)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return cells

    def raw_map(self, evidence: Evidence) -> RawMap:
        activations, queries = evidence.activations, evidence.queries(self.name)
        grid = activations.shape[2:]
        kept = queries.scores_of_activations(grid.numel(), OnePositionKept(activations))
        none = queries.scores_of_activations(1, lambda *_: torch.zeros_like(activations).unsqueeze(1))
        return (kept - none).unflatten(1, grid)
