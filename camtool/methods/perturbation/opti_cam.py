"""Opti-CAM: Zhang et al. 2023, "Opti-CAM: Optimizing saliency maps for interpretability", arXiv:2301.07002."""

import operator
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.functional import UNDECIDED
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import as_masks, weighted
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class OptiCAM(BaseMethod):
    """Optimises channel weights so that the input masked by the map, resized and scaled to [0, 1], has the highest score.

    The weights are a softmax over channels, optimised by Adam from equal weights: deterministic, and separate for each sample. The map is
    that of the last step, without the paper's optional ReLU. Differs from the paper where the sum over channels is the same at every
    position but for rounding, which the mask would scale to [0, 1], as behind a layer norm with initial weights: there the optimisation
    starts from the softmax of the channels' standard deviations as shares of the largest.

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

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.steps

    def contributions(self, evidence: Evidence) -> Maps:
        queries = evidence.queries(self.name)
        # The gradient of a dead channel's weight is 0. In float32 it is rounding noise, which Adam scales to full steps.
        # MPS has no float64.
        activations = evidence.activations if evidence.activations.device.type == "mps" else evidence.activations.double()
        logits = _start(activations).requires_grad_()  # (n, c)
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


def _start(activations: Maps) -> Float[Tensor, "n c"]:
    """Return the logits of the first weights: equal ones, unless the map of these is flat but for rounding."""
    flat = activations.flatten(2)
    total, size = flat.sum(dim=1), flat.abs().sum(dim=1).amax(dim=1)
    undecided = total.amax(dim=1) - total.amin(dim=1) <= UNDECIDED * size
    spread = flat.std(dim=2, correction=0)
    by_spread = spread / spread.amax(dim=1, keepdim=True).clamp(min=torch.finfo(spread.dtype).tiny)
    return torch.where(undecided.unsqueeze(1), by_spread, 0)
