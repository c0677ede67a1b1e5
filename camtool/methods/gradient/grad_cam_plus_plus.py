"""Grad-CAM++: Chattopadhyay et al. 2018, arXiv:1710.11063."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError, warn
from camtool.functional import spatial_sum
from camtool.methods._base import GradientMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights

RELATIVE = 1e-12
"""The default epsilon, as a share of a sample's largest squared gradient: gradients below 1e-6 of the largest are rounding in float32."""


@METHODS.register_module(name=["GradCAMPlusPlus", "GradCAMpp"])
class GradCAMPlusPlus(GradientMethod):
    """Weights each channel by the sum of its positive gradients, each with a coefficient alpha (eqs. 10 and 19).

    Differs from eq. 19: the derivatives are those of the score itself, as in every implementation, not of its exponential;
    alpha is 0 where the gradient is 0. A denominator that is negative for a positive gradient, where a channel's activations have a
    negative sum, is remarked on: the paper has activations behind a ReLU.

    Args:
        epsilon: what is added to the denominator of alpha; None: 1e-12 of the sample's largest squared gradient, with the denominator's
            sign, so that the map does not depend on the gradients' scale. pytorch-grad-cam adds 1e-6 and MONAI 1e-7, which is more than
            the squared gradients of some layers; their values give their maps.

    Raises:
        MethodError: if `epsilon` is negative.

    Example:
        >>> import torch
        >>> from camtool.methods import GradCAMPlusPlus
        >>> activations, gradients = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, -1.0]]])
        >>> GradCAMPlusPlus().weights(activations, gradients)  # 1 / (2 + 2), the negative gradient left out
        tensor([[[0.2500]]])
    """

    name = "gradcam++"
    paper = "arXiv:1710.11063"

    def __init__(self, *, epsilon: float | None = None) -> None:
        self.epsilon = checked_epsilon(self.name, epsilon)

    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        return plus_plus_weights(self.name, activations, gradients.unsqueeze(0), self.epsilon)


def checked_epsilon(method: str, epsilon: float | None) -> float | None:
    """Return the epsilon of a method; MethodError if it is negative."""
    if epsilon is None:
        return None
    if not float(epsilon) >= 0:
        raise MethodError(f"Method '{method}': expected an epsilon of 0 or more, got {epsilon}; try 1e-6, as in pytorch-grad-cam.")
    return float(epsilon)


def plus_plus_weights(method: str, activations: Maps, gradients: Float[Tensor, "copies n c ..."], epsilon: float | None) -> Weights:
    """Return Grad-CAM++'s channel weights (n, c, 1, ...) from derivatives averaged over copies; those of higher order are powers.

    Args:
        method: the name for the remark on denominators that change their sign.
        gradients: of the score with respect to the activations, of each copy of the input.
        epsilon: as of `GradCAMPlusPlus`.
    """
    # Powers of tiny gradients vanish in float32: a sample's largest gradient is taken out, and put back at the end.
    every_other = tuple(axis for axis in range(gradients.ndim) if axis != 1)
    largest = gradients.abs().amax(dim=every_other, keepdim=True).clamp(min=torch.finfo(gradients.dtype).tiny)
    scale = largest if epsilon is None else torch.ones_like(largest)
    first, second, third = (((gradients / scale) ** order).mean(dim=0) for order in (1, 2, 3))
    scale = scale.squeeze(0)
    denominator = 2 * second + spatial_sum(activations) * scale * third
    counted = (second != 0) & (first > 0)
    if (counted & (denominator < 0)).any():
        warn(
            f"{method}: the denominator of its coefficients is negative at {(counted & (denominator < 0)).sum() / counted.sum():.1%} of "
            "the positive gradients, since channels have activations of a negative sum; near its zero single positions take over the map. "
            "Choose a layer behind an activation function, or use 'layercam'."
        )
    if epsilon is None:
        epsilons = torch.full_like(denominator, RELATIVE).copysign(denominator)
        alpha = second / (denominator + epsilons)
    else:
        alpha = second / (denominator + epsilon)
    alpha = torch.where(second != 0, alpha, torch.zeros_like(alpha))
    return spatial_sum(alpha * first.clamp(min=0)) * scale
