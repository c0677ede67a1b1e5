"""LayerCAM: Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP 30."""

from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class LayerCAM(GradientMethod):
    """Weights each activation by the positive part of its own gradient (eqs. 5 to 7).

    Example:
        >>> import torch
        >>> from camtool.methods import LayerCAM
        >>> activations, gradients = torch.tensor([[[1.0, 1.0, 2.0]]]), torch.tensor([[[3.0, -1.0, 1.0]]])
        >>> LayerCAM().weights(activations, gradients)
        tensor([[[3., 0., 1.]]])
    """

    name = "layercam"
    paper = "doi:10.1109/TIP.2021.3089943"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return gradients.clamp(min=0)
