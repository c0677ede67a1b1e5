"""Poly-CAM: Englebert, Cornu & De Vleeschouwer 2022, arXiv:2204.13359."""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from camtool.fusion import Refined
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import same_everywhere, scores_through, weighted
from camtool.registry import METHODS
from camtool.targets import ClassProbability, ClassScore, Target
from camtool.types import Maps

VARIANTS = ("plus", "minus", "both")


@METHODS.register_module()
class PolyCAM(BaseMethod):
    """Weights channels by the effect of showing and hiding their region on the class's probability, and refines layer by layer.

    With several target layers the map is as fine as the first of them (`camtool.fusion.Refined`); the paper takes the last layer of
    each resolution. A channel's mask is the channel, resized and scaled to [0, 1]. Its weight is the score of the input times the
    mask ("plus", PCAM+), the positive part of the score's drop for the input times the inverse of the mask ("minus", PCAM-), or the
    positive part of the sum of both ("both", PCAM+/-). A constant channel has weight 0.

    Differs from the authors' code: masks are scaled from the lowest to the highest value after the resize, not between percentiles
    before it. The text's equations were not checked. For a class's logit as target its probability is explained, as there.

    Args:
        variant: "plus", "minus" or "both".

    Raises:
        ValueError: for another variant.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "polycam", "variant": "plus"})
        >>> method.variant, method.fusion
        ('plus', Refined())
    """

    name = "polycam"
    paper = "arXiv:2204.13359"
    cost = "2 C forwards"
    needs = Needs(same_queries_for_all_targets=True)
    fusion = Refined()

    def __init__(self, *, variant: str = "both") -> None:
        if variant not in VARIANTS:
            raise ValueError(f"expected a variant of: {', '.join(VARIANTS)}, got {variant!r}")
        self.variant = variant

    def target(self, target: Target) -> Target:
        return ClassProbability(target.index) if isinstance(target, ClassScore) else target

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return channels * (2 if self.variant == "both" else 1)

    def contributions(self, evidence: Evidence) -> Maps:
        activations, queries = evidence.activations, evidence.queries(self.name)
        shows, hides = self.variant != "minus", self.variant != "plus"

        def vary(masks: Tensor, number: Int[Tensor, " copies"]) -> Tensor:
            hidden = (number == int(shows)) & hides
            return (1 - masks).where(hidden.view(-1, *[1] * (masks.ndim - 2)), masks)

        scores = scores_through(evidence, self.name, shows + hides, vary)
        weights = scores[:, :, 0] if shows else scores.new_zeros(scores.shape[:2])
        if hides:
            weights = (weights + queries.scores.unsqueeze(1) - scores[:, :, -1]).clamp(min=0)
        return weighted(weights.masked_fill(same_everywhere(activations), 0), activations)
