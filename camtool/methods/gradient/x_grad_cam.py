"""XGrad-CAM: Fu et al. 2020, "Axiom-based Grad-CAM", arXiv:2008.02312."""

import torch
from jaxtyping import Bool
from torch import Tensor

from camtool.errors import MethodError, warn
from camtool.functional import UNDECIDED, holds_for_some, spatial_sum
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights

EPS = 1e-7  # pytorch-grad-cam's XGradCAM


@METHODS.register_module()
class XGradCAM(GradientMethod):
    """Weights each channel by the mean of its gradients, weighted by the normalised activations (eq. 8).

    The normalised activations are divided by their sum over positions. Where that is zero but for rounding, as behind an instance norm,
    eq. 8 has no value: such a channel's weight is 0, with a warning.

    Raises:
        MethodError: if no channel of a sample has a weight.

    Example:
        >>> import torch
        >>> from camtool.methods import XGradCAM
        >>> activations, gradients = torch.tensor([[[1.0, 1.0, 2.0]]]), torch.tensor([[[3.0, -1.0, 1.0]]])
        >>> XGradCAM().weights(activations, gradients)
        tensor([[[1.]]])
    """

    name = "xgradcam"
    paper = "arXiv:2008.02312"

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        total, size = spatial_sum(activations), spatial_sum(activations.abs())
        undefined = (total.abs() <= UNDECIDED * size) & (size > 0)
        if undefined.any():
            self._check(undefined.flatten(1), (size > 0).flatten(1))
        return torch.where(undefined, 0, spatial_sum(gradients * activations) / (total + EPS))

    def _check(self, undefined: Bool[Tensor, "n c"], living: Bool[Tensor, "n c"]) -> None:
        """Warn of channels without a weight; MethodError if these are all living channels of a sample."""
        why = (
            f"Method '{self.name}' divides by the sum of a channel's activations over positions, which is zero but for rounding for "
            "{channels} here, as behind an instance norm"
        )
        none_left = (undefined == living).all(dim=1).logical_and(living.any(dim=1))
        if none_left.any():
            raise MethodError(
                f"{why.format(channels='every channel')}. Choose a layer behind an activation function, or use 'hirescam'.",
                of_some=holds_for_some(none_left),
            )
        count = int(undefined.sum(dim=1).amax())
        warn(f"{why.format(channels=f'{count} of {undefined.shape[1]} channels')}; their weight is 0.")
