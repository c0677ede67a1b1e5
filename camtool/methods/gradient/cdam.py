"""CDAM: Brocki et al. 2023, "Class-Discriminative Attention Maps for Vision Transformers", arXiv:2312.02364."""

from camtool.methods._base import GradientMethod, Needs
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class CDAM(GradientMethod):
    """Sums over a token's features each times its gradient: hirescam on tokens.

    The paper's tokens enter the last attention: the target layer is the first norm of the last block, which is also the one derived
    where a class token is read.
    """

    name = "cdam"
    paper = "arXiv:2312.02364"
    needs = Needs(gradients=True, tokens=True)

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients
