"""AG-CAM: Leem & Seo 2024, "Attention Guided CAM: Visual Explanations of Vision Transformer Guided by Self-Attention",
AAAI 2024, arXiv:2402.04563."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.methods._base import Needs
from camtool.methods.attention._base import AttentionEvidence, AttentionMethod
from camtool.registry import METHODS


@METHODS.register_module()
class AGCAM(AttentionMethod):
    """Sums the positive gradients of the attention weights times the sigmoid of the attention scores over layers and heads.

    The gradients are those of the weights, the softmax's output; the factor is the sigmoid of the scores, the softmax's input. So the
    map depends on how a network computes its softmax: scores shifted first, for example by their maximum, have another sigmoid.

    Example:
        >>> import torch
        >>> from camtool.methods import AttentionEvidence, AGCAM
        >>> weights = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
        >>> gradients = torch.tensor([[[[2.0, 4.0], [0.0, -1.0]]]])
        >>> evidence = AttentionEvidence([weights], [torch.zeros(1, 1, 2, 2)], torch.tensor([[True, False]]), [gradients], [gradients])
        >>> AGCAM().raw_map(evidence)
        tensor([[1., 2.]])
    """

    name = "agcam"
    paper = "arXiv:2402.04563"
    needs = Needs(gradients=True)

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        pairs = zip(evidence.scores, self.gradients(evidence), strict=True)
        layers = [(gradients.clamp(min=0) * scores.sigmoid()).sum(dim=1) for scores, gradients in pairs]
        return evidence.read(torch.stack(layers).sum(dim=0))
