"""Attention rollout: Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv:2005.00928."""

from jaxtyping import Float
from torch import Tensor

from camtool.methods.attention._base import AttentionEvidence, AttentionMethod, rolled_out
from camtool.registry import METHODS


@METHODS.register_module()
class Rollout(AttentionMethod):
    """Multiplies the attention of all layers, averaged over heads and mixed equally with the identity (sec. 3).

    Example:
        >>> import torch
        >>> from camtool.methods import AttentionEvidence, Rollout
        >>> weights = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
        >>> gradients = torch.tensor([[[[2.0, 4.0], [0.0, -1.0]]]])
        >>> evidence = AttentionEvidence([weights], [torch.zeros(1, 1, 2, 2)], torch.tensor([[True, False]]), [gradients], [gradients])
        >>> Rollout().raw_map(evidence)
        tensor([[0.7500, 0.2500]])
    """

    name = "rollout"
    paper = "arXiv:2005.00928"
    cost = "1 forward + tail backward"
    class_discriminative = False

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        return evidence.read(rolled_out([weights.mean(dim=1) for weights in evidence.weights]))
