"""Faster Score-CAM: https://github.com/tabayashi0117/Score-CAM; no paper of its own."""

import operator
from collections.abc import Sequence

import torch

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import seen_through, softmax_of_living, weighted
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class FasterScoreCAM(BaseMethod):
    """Score-CAM of the k channels with the largest variance over positions; the other channels have weight 0.

    Of channels with equal variance the first is taken. With all channels it equals Score-CAM.

    Args:
        k: number of channels, at least 1, and of forward passes.

    Raises:
        ValueError: if `k` is below 1.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "fastercam", "k": 20})
        >>> method.k
        20
    """

    name = "fastercam"
    paper = "github.com/tabayashi0117/Score-CAM"
    cost = "10 forwards"
    needs = Needs(same_queries_for_all_targets=True)

    def __init__(self, *, k: int = 10) -> None:
        self.k = operator.index(k)
        if self.k < 1:
            raise ValueError(f"expected k, a number of channels, of at least 1, got {k}")

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return min(self.k, channels)

    def contributions(self, evidence: Evidence) -> Maps:
        activations, queries = evidence.activations, evidence.queries(self.name)
        spread = activations.flatten(2).var(dim=2, correction=0)  # (n, c)
        chosen = spread.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        channels = torch.stack([sample[indices] for sample, indices in zip(activations, chosen, strict=True)])  # (n, k, *spatial)
        scores = queries.scores_of_inputs(channels.shape[1], seen_through(queries.inputs, channels, evidence.placement))
        weights = scores.new_zeros(spread.shape).scatter(1, chosen, softmax_of_living(scores, channels))
        return weighted(weights, activations)
