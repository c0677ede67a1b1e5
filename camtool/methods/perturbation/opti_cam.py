"""Opti-CAM: Zhang et al. 2023, "Opti-CAM: Optimizing saliency maps for interpretability", arXiv:2301.07002."""

import operator

import torch

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import as_masks, weighted
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class OptiCAM(BaseMethod):
    """Weights each channel so that the input times the map, resized and scaled to [0, 1], scores as high as can be.

    The weights are a softmax over channels of what Adam finds, starting from equal weights: deterministic, and each sample's own.
    The map is what the last step leaves, without the paper's optional ReLU.

    Args:
        steps: of Adam, at least 1; each is one forward and one backward pass.
        rate: Adam's learning rate.
    """

    name = "opticam"
    paper = "arXiv:2301.07002"
    needs = Needs(further_gradients=True)
    cost = "50 forwards and backwards"

    def __init__(self, *, steps: int = 50, rate: float = 0.1) -> None:
        self.steps = operator.index(steps)
        self.rate = float(rate)
        if self.steps < 1 or not self.rate > 0:
            raise ValueError(f"steps are at least 1 and rate is above 0, got {steps} and {rate}")

    def contributions(self, evidence: Evidence) -> Maps:
        queries = evidence.queries(self.name)
        # The weight of a dead channel has a slope of 0. In float32 it is rounding noise, of which Adam makes steps as large as any.
        # MPS has no float64.
        activations = evidence.activations if evidence.activations.device.type == "mps" else evidence.activations.double()
        logits = activations.new_zeros(activations.shape[:2], requires_grad=True)  # (n, c)
        optimiser = torch.optim.Adam([logits], lr=self.rate, maximize=True)
        for step in range(self.steps):
            with torch.enable_grad():
                saliency = weighted(logits.softmax(dim=1), activations).sum(dim=1, keepdim=True)
                shown = queries.inputs * as_masks(saliency, queries.inputs.shape[2:])
            _, of_shown = queries.score_and_gradients(shown.detach())
            (gradient,) = torch.autograd.grad(shown, logits, of_shown.to(shown.dtype))
            logits.grad = gradient.nan_to_num(0, 0, 0)  # a map that is flat under all weights has no slope
            optimiser.step()
            queries.report(step + 1, self.steps)
        return weighted(logits.detach().softmax(dim=1), activations).to(evidence.activations.dtype)
