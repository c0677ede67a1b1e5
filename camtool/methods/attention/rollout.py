"""Attention rollout: Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv:2005.00928."""

from jaxtyping import Float
from torch import Tensor

from camtool.methods.attention._base import AttentionEvidence, AttentionMethod, rolled_out
from camtool.registry import METHODS


@METHODS.register_module()
class Rollout(AttentionMethod):
    """Multiplies through the layers the attention, averaged over heads, mixed half and half with the identity (sec. 3)."""

    name = "rollout"
    paper = "arXiv:2005.00928"
    cost = "1 forward + tail backward"
    class_discriminative = False

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        return evidence.read(rolled_out([weights.mean(dim=1) for weights in evidence.weights]))
