"""Opti-CAM: Zhang et al. 2023, "Opti-CAM: Optimizing saliency maps for interpretability", arXiv:2301.07002."""

import operator

import torch

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import as_masks, weighted
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class OptiCAM(BaseMethod):
    """Optimises channel weights so that the input masked by the map, resized and scaled to [0, 1], has the highest score.

    The weights are a softmax over channels, optimised by Adam from equal weights: deterministic, and separate for each sample. The map is
    that of the last step, without the paper's optional ReLU.

    Args:
        steps: number of Adam's steps, at least 1; each is one forward and one backward pass.
        rate: Adam's learning rate, above 0.

    Raises:
        ValueError: if a setting is out of its range.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "opticam", "steps": 20})
        >>> method.steps, method.rate
        (20, 0.1)
    """

    name = "opticam"
    paper = "arXiv:2301.07002"
    needs = Needs(further_gradients=True)
    cost = "50 forwards and backwards"

    def __init__(self, *, steps: int = 50, rate: float = 0.1) -> None:
        self.steps = operator.index(steps)
        self.rate = float(rate)
        if self.steps < 1 or not self.rate > 0:
            raise ValueError(f"expected steps of at least 1 and a rate above 0, got {steps} and {rate}")

    def contributions(self, evidence: Evidence) -> Maps:
        queries = evidence.queries(self.name)
        # The gradient of a dead channel's weight is 0. In float32 it is rounding noise, which Adam scales to full steps.
        # MPS has no float64.
        activations = evidence.activations if evidence.activations.device.type == "mps" else evidence.activations.double()
        logits = activations.new_zeros(activations.shape[:2], requires_grad=True)  # (n, c)
        optimiser = torch.optim.Adam([logits], lr=self.rate, maximize=True)
        for step in range(self.steps):
            with torch.enable_grad():
                saliency = weighted(logits.softmax(dim=1), activations).sum(dim=1, keepdim=True)
                masked = queries.inputs * as_masks(saliency, queries.inputs.shape[2:], evidence.placement)
            _, input_gradients = queries.score_and_gradients(masked.detach())
            (gradient,) = torch.autograd.grad(masked, logits, input_gradients.to(masked.dtype))
            logits.grad = gradient.nan_to_num(0, 0, 0)  # a map that is flat for all weights has no gradient
            optimiser.step()
            queries.report(step + 1, self.steps)
        return weighted(logits.detach().softmax(dim=1), activations).to(evidence.activations.dtype)
