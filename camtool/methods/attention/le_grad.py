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
    """Averages the positive gradients of each layer's own score with respect to its attention over layers, heads and queries.

    The score of a layer is the target's score of the output that the network's tail (last norm, pooling or class token, head) computes
    from the tokens of the layer's block. Differs from the authors' code for CLIP and from torchcam, which score the mean of all tokens
    whatever the network reads, so that their last layer does not explain the network's score; all layers are used.

    Example:
        >>> import torch
        >>> from camtool.methods import AttentionEvidence, LeGrad
        >>> weights = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
        >>> gradients = torch.tensor([[[[2.0, 4.0], [0.0, -1.0]]]])
        >>> evidence = AttentionEvidence([weights], [torch.zeros(1, 1, 2, 2)], torch.tensor([[True, False]]), [gradients], [gradients])
        >>> LeGrad().raw_map(evidence)
        tensor([[1., 2.]])
    """

    name = "legrad"
    paper = "arXiv:2404.03214"
    cost = "1 forward + tail and backward per layer"
    needs = Needs(gradients=True, layer_gradients=True)

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        if evidence.layer_gradients is None:
            raise MethodError(f"Method '{self.name}' needs the gradients of every layer's own score, which the evidence does not have.")
        return torch.stack([gradients.clamp(min=0).mean(dim=(1, 2)) for gradients in evidence.layer_gradients]).mean(dim=0)
