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
    """Sums over layers and heads the positive gradient of the attention, guided by the sigmoid of its scores before the softmax.

    The gradient is that of the weights behind the softmax; the sigmoid takes the softmax's place in what it is multiplied with. So the
    map depends on how a network writes its softmax: scores that it shifts first, by their maximum say, have another sigmoid.
    """

    name = "agcam"
    paper = "arXiv:2402.04563"
    needs = Needs(gradients=True)

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        pairs = zip(evidence.scores, self.gradients(evidence), strict=True)
        layers = [(gradients.clamp(min=0) * scores.sigmoid()).sum(dim=1) for scores, gradients in pairs]
        return evidence.read(torch.stack(layers).sum(dim=0))
