"""CDAM: Brocki et al. 2023, "Class-Discriminative Attention Maps for Vision Transformers", arXiv:2312.02364."""

from camtool.methods._base import GradientMethod, Needs
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class CDAM(GradientMethod):
    """Sums each token's features times their gradients: HiResCAM on tokens.

    It is a gradient method and needs a target layer of tokens. The paper's are the input of the last attention: the first norm of the
    last block, which is also the derived target layer of networks with a class token.

    Example:
        >>> import torch
        >>> from camtool.methods import CDAM
        >>> activations, gradients = torch.tensor([[[1.0, 1.0, 2.0]]]), torch.tensor([[[3.0, -1.0, 1.0]]])
        >>> CDAM().weights(activations, gradients)
        tensor([[[ 3., -1.,  1.]]])
    """

    name = "cdam"
    paper = "arXiv:2312.02364"
    needs = Needs(gradients=True, tokens=True)

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients
