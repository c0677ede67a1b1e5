"""Generic attention: Chefer et al. 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", arXiv:2103.15679."""

from jaxtyping import Float
from torch import Tensor

from camtool.methods._base import Needs
from camtool.methods.attention._base import AttentionEvidence, AttentionMethod, identity_like
from camtool.registry import METHODS


@METHODS.register_module()
class GenericAttention(AttentionMethod):
    """Propagates relevance through the layers by the positive part of gradient * attention, averaged over heads.

    The paper's rule for self-attention: R = I, then R = R + mean_h(relu(gradient * attention)) R in each layer.

    Example:
        >>> import torch
        >>> from camtool.methods import AttentionEvidence, GenericAttention
        >>> weights = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
        >>> gradients = torch.tensor([[[[2.0, 4.0], [0.0, -1.0]]]])
        >>> evidence = AttentionEvidence([weights], [torch.zeros(1, 1, 2, 2)], torch.tensor([[True, False]]), [gradients], [gradients])
        >>> GenericAttention().raw_map(evidence)
        tensor([[2., 2.]])
    """

    name = "genericattention"
    paper = "arXiv:2103.15679"
    needs = Needs(gradients=True)

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        relevance = identity_like(evidence.weights[0][:, 0]).expand(len(evidence.rows), -1, -1)
        for weights, gradients in zip(evidence.weights, self.gradients(evidence), strict=True):
            relevance = relevance + (gradients * weights).clamp(min=0).mean(dim=1) @ relevance
        return evidence.read(relevance)
