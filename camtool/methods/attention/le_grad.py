"""LeGrad: Bousselham et al. 2025, "LeGrad: An Explainability Method for Vision Transformers via Feature Formation Sensitivity",
ICCV 2025, arXiv:2404.03214."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.methods._base import Needs
from camtool.methods.attention._base import AttentionEvidence, AttentionMethod
from camtool.registry import METHODS


@METHODS.register_module()
class LeGrad(AttentionMethod):
    """Averages over layers, heads and queries the positive gradient of each layer's own score with respect to its attention.

    The score of a layer is the target of what the network's own tail (last norm, pooling or class token, head) makes of the tokens
    that the layer's block puts out. Differs from the authors' code for CLIP and from torchcam, which score the mean of all tokens
    whatever the network reads, so that their last layer does not explain the network's score; all layers are used.
    """

    name = "legrad"
    paper = "arXiv:2404.03214"
    cost = "1 forward + tail and backward per layer"
    needs = Needs(gradients=True, layer_gradients=True)

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        if evidence.layer_gradients is None:
            raise MethodError(f"Method '{self.name}' needs the gradients of every layer's own score.")
        return torch.stack([gradients.clamp(min=0).mean(dim=(1, 2)) for gradients in evidence.layer_gradients]).mean(dim=0)
