"""RefineCAM: Domeniconi et al. 2026, "How to Evaluate and Refine your CAM", arXiv:2605.14641."""

from camtool.functional import spatial_mean
from camtool.fusion import Product
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class RefineCAM(GradientMethod):
    """Product of the Grad-CAM maps of several layers: resolution of the first, location of the last.

    With one target layer it equals Grad-CAM; `fuse='product'` multiplies the maps of other methods. Differs from pytorch-grad-cam, whose
    base is Grad-CAM++ and whose loop for scaling the factors has no effect.

    Example:
        >>> from camtool.methods import RefineCAM
        >>> RefineCAM().fusion
        Product()
    """

    name = "refinecam"
    paper = "arXiv:2605.14641"
    fusion = Product()

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return spatial_mean(gradients)
