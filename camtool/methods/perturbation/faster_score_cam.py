"""Faster Score-CAM: https://github.com/tabayashi0117/Score-CAM; no paper of its own."""

import operator

import torch

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import seen_through, softmax_of_living, weighted
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class FasterScoreCAM(BaseMethod):
    """Score-CAM with the k channels that vary most over positions; the weight of the others is 0.

    Of channels that vary equally the first is taken. With as many channels as there are, it is Score-CAM.

    Args:
        k: how many channels, at least 1; the number of forward passes.
    """

    name = "fastercam"
    paper = "github.com/tabayashi0117/Score-CAM"
    cost = "10 forwards"
    needs = Needs(same_queries_for_all_targets=True)

    def __init__(self, *, k: int = 10) -> None:
        self.k = operator.index(k)
        if self.k < 1:
            raise ValueError(f"k is a number of channels, at least 1, got {k}")

    def contributions(self, evidence: Evidence) -> Maps:
        activations, queries = evidence.activations, evidence.queries(self.name)
        spread = activations.flatten(2).var(dim=2, correction=0)  # (n, c)
        chosen = spread.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        kept = torch.stack([sample[of_sample] for sample, of_sample in zip(activations, chosen, strict=True)])  # (n, k, *spatial)
        scores = queries.scores_of_inputs(kept.shape[1], seen_through(queries.inputs, kept))
        weights = scores.new_zeros(spread.shape).scatter(1, chosen, softmax_of_living(scores, kept))
        return weighted(weights, activations)
