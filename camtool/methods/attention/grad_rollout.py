"""Gradient rollout: after Chefer et al. 2021, "Transformer Interpretability Beyond Attention Visualization", arXiv:2012.09838."""

from jaxtyping import Float
from torch import Tensor

from camtool.methods._base import Needs
from camtool.methods.attention._base import AttentionEvidence, AttentionMethod, rolled_out
from camtool.registry import METHODS


@METHODS.register_module()
class GradRollout(AttentionMethod):
    """Applies attention rollout to the positive part of gradient * attention, averaged over heads.

    Differs from the paper's weighted attention relevance: the attention itself takes the place of its layer-wise relevance, and rows
    are normalised, as in rollout.

    Example:
        >>> import torch
        >>> from camtool.methods import AttentionEvidence, GradRollout
        >>> weights = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
        >>> gradients = torch.tensor([[[[2.0, 4.0], [0.0, -1.0]]]])
        >>> evidence = AttentionEvidence([weights], [torch.zeros(1, 1, 2, 2)], torch.tensor([[True, False]]), [gradients], [gradients])
        >>> GradRollout().raw_map(evidence)
        tensor([[0.5000, 0.5000]])
    """

    name = "gradrollout"
    paper = "arXiv:2012.09838"
    needs = Needs(gradients=True)

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        pairs = zip(evidence.weights, self.gradients(evidence), strict=True)
        return evidence.read(rolled_out([(gradients * weights).clamp(min=0).mean(dim=1) for weights, gradients in pairs]))
