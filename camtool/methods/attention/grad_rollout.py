"""Gradient rollout: after Chefer et al. 2021, "Transformer Interpretability Beyond Attention Visualization", arXiv:2012.09838."""

from jaxtyping import Float
from torch import Tensor

from camtool.methods._base import Needs
from camtool.methods.attention._base import AttentionEvidence, AttentionMethod, rolled_out
from camtool.registry import METHODS


@METHODS.register_module()
class GradRollout(AttentionMethod):
    """Attention rollout of the positive part of gradient * attention, so of what speaks for the class.

    Differs from the paper's weighted attention relevance: the attention itself stands in for its layer-wise relevance, and rows
    are normalised, as in rollout.
    """

    name = "gradrollout"
    paper = "arXiv:2012.09838"
    needs = Needs(gradients=True)

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        pairs = zip(evidence.weights, self.gradients(evidence), strict=True)
        return evidence.read(rolled_out([(gradients * weights).clamp(min=0).mean(dim=1) for weights, gradients in pairs]))
