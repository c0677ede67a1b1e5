"""FEM, Feature Explanation Method: Fuad et al. 2020, "Features Understanding in 3D CNNs for Actions Recognition in Video"."""

from camtool.functional import spatial_axes, spatial_mean
from camtool.methods._base import ActivationMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class FEM(ActivationMethod):
    """Weights each channel by the share of its positions more than k standard deviations above its mean.

    Differs from the paper: activations are summed with these weights, as in pytorch-grad-cam, not the binary maps.

    Example:
        >>> import torch
        >>> from camtool.methods import FEM
        >>> FEM(k=1.0).weights(torch.tensor([[[0.0, 0.0, 0.0, 8.0]]]))
        tensor([[[0.2500]]])
    """

    name = "fem"
    paper = "hal-02963298"

    def __init__(self, *, k: float = 2.0) -> None:
        self.k = float(k)

    def weights(self, activations: Maps) -> Weights:
        spread = activations.std(dim=spatial_axes(activations), keepdim=True, correction=0)
        strong = activations > spatial_mean(activations) + self.k * spread
        return spatial_mean(strong.to(activations.dtype))
