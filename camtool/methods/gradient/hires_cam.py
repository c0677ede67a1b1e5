"""HiResCAM: Draelos & Carin 2020, arXiv:2011.08891."""

from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module(name=["HiResCAM", "FullCAM"])
class HiResCAM(GradientMethod):
    """Weights each activation by its own gradient.

    With a linear tail the raw map sums to the logit minus that of zero activations. Known as `fullcam` in arXiv:2407.01142.

    Example:
        >>> import torch
        >>> from camtool.methods import HiResCAM
        >>> activations, gradients = torch.tensor([[[1.0, 1.0, 2.0]]]), torch.tensor([[[3.0, -1.0, 1.0]]])
        >>> HiResCAM().weights(activations, gradients)
        tensor([[[ 3., -1.,  1.]]])
    """

    name = "hirescam"
    paper = "arXiv:2011.08891"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients
