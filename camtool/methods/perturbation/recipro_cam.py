"""Recipro-CAM: Byun & Lee 2022, arXiv:2209.14074; on tokens ViT-ReciproCAM, arXiv:2310.02588."""

import torch

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._ablations import OnePositionKept
from camtool.registry import METHODS
from camtool.types import RawMap


@METHODS.register_module()
class ReciproCAM(BaseMethod):
    """Scores each position by what the network says when all others of the layer are zero.

    Differs from the papers: one position is kept, not a Gaussian around it, and what the network says when none is kept is taken off,
    so that the sign means something. Extra tokens (class, distillation) are kept always.
    """

    name = "reciprocam"
    paper = "arXiv:2209.14074"
    cost = "N tails"
    needs = Needs(replay=True, same_queries_for_all_targets=True)

    def raw_map(self, evidence: Evidence) -> RawMap:
        activations, queries = evidence.activations, evidence.queries(self.name)
        grid = activations.shape[2:]
        kept = queries.scores_of_activations(grid.numel(), OnePositionKept(activations))
        none = queries.scores_of_activations(1, lambda *_: torch.zeros_like(activations).unsqueeze(1))
        return (kept - none).unflatten(1, grid)
