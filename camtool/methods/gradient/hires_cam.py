"""HiResCAM: Draelos & Carin 2020, arXiv:2011.08891."""

from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module(name=["HiResCAM", "FullCAM"])
class HiResCAM(GradientMethod):
    """Weights each activation by its own gradient; on a linear tail the raw map sums to logit - logit at zero activations.

    Known as `fullcam` in arXiv:2407.01142.
    """

    name = "hirescam"
    paper = "arXiv:2011.08891"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients
