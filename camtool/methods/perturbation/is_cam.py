"""IS-CAM: Naidu et al. 2020, "IS-CAM: Integrated Score-CAM for axiomatic-based explanations", arXiv:2010.03023."""

import operator
from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import scores_through, softmax_of_living, weighted
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class ISCAM(BaseMethod):
    """Weights each channel by the softmax over channels of the mean score along the path from a black to the masked input.

    The mean is that of the scores of the input times i/N of the channel's mask, i = 1 to N.

    Differs from the published code, torchcam's included, where the parts i/N are added up over the steps: the last mask is there
    (N + 1) / 2 times as large as the channel, 5.5 times for N = 10, far brighter than any picture. Here every mask is within [0, 1].

    Args:
        steps: N, at least 1; the number of forward passes per channel.

    Raises:
        ValueError: if `steps` is below 1.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "iscam", "steps": 5})
        >>> method.steps
        5
    """

    name = "iscam"
    paper = "arXiv:2010.03023"
    cost = "10 C forwards"
    needs = Needs(same_queries_for_all_targets=True)

    def __init__(self, *, steps: int = 10) -> None:
        self.steps = operator.index(steps)
        if self.steps < 1:
            raise ValueError(f"expected steps of at least 1, got {steps}")

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.steps * channels

    def contributions(self, evidence: Evidence) -> Maps:
        activations = evidence.activations

        def part(masks: Tensor, step: Int[Tensor, " copies"]) -> Tensor:
            share = (step + 1).to(masks.dtype) / self.steps
            return share.view(-1, *[1] * (masks.ndim - 2)) * masks

        scores = scores_through(evidence, self.name, self.steps, part).mean(dim=2)
        return weighted(softmax_of_living(scores, activations), activations)
