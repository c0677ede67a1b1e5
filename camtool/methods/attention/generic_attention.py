"""Generic attention: Chefer et al. 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", arXiv:2103.15679."""

from jaxtyping import Float
from torch import Tensor

from camtool.methods._base import Needs
from camtool.methods.attention._base import AttentionEvidence, AttentionMethod, identity_like
from camtool.registry import METHODS


@METHODS.register_module()
class GenericAttention(AttentionMethod):
    """Adds up, layer by layer, the relevance that positive gradient * attention, averaged over heads, passes on.

    The paper's rule for self-attention: R = I, then R = R + mean_h(relu(gradient * attention)) R in each layer.
    """

    name = "genericattention"
    paper = "arXiv:2103.15679"
    needs = Needs(gradients=True)

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        relevance = identity_like(evidence.weights[0][:, 0]).expand(len(evidence.rows), -1, -1)
        for weights, gradients in zip(evidence.weights, self.gradients(evidence), strict=True):
            relevance = relevance + (gradients * weights).clamp(min=0).mean(dim=1) @ relevance
        return evidence.read(relevance)
