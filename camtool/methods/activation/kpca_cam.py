"""KPCA-CAM: Karmani et al. 2024, arXiv:2410.00267."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import oriented
from camtool.methods._base import BaseMethod, Evidence
from camtool.registry import METHODS
from camtool.types import Maps, RawMap

MOST_POSITIONS = 8192
"""The largest number of positions: their kernel matrix takes half a GiB and minutes, its eigenvectors as much again."""


@METHODS.register_module()
class KPCACAM(BaseMethod):
    """Projects the activations on their first kernel principal component over channels, the same for every class.

    The kernel is the sigmoid one, tanh(gamma <a, b> + coef0), of the channels less their means; kernel and defaults are those of the
    authors' implementation in pytorch-grad-cam (scikit-learn's KernelPCA). Differs from it: the arbitrary sign of
    a component is fixed by `camtool.functional.oriented`. Memory grows with the square of the number of positions.

    Args:
        gamma: factor of the scalar product; None: 1 / channels.
        coef0: summand behind the scalar product.

    Raises:
        MethodError: for a layer of more than 8192 positions.

    Example:
        >>> import torch
        >>> from camtool.methods import KPCACAM, Evidence
        >>> activations = torch.arange(32.0).view(1, 2, 4, 4)
        >>> KPCACAM(gamma=0.5).raw_map(Evidence(activations, None, lambda: None)).shape
        torch.Size([1, 4, 4])
    """

    name = "kpcacam"
    paper = "arXiv:2410.00267"
    cost = "1 forward"
    class_discriminative = False

    def __init__(self, *, gamma: float | None = None, coef0: float = 1.0) -> None:
        self.gamma = None if gamma is None else float(gamma)
        self.coef0 = float(coef0)

    def raw_map(self, evidence: Evidence) -> RawMap:
        positions = evidence.activations[0, 0].numel()
        if positions > MOST_POSITIONS:
            raise MethodError(
                f"Method '{self.name}' computes a matrix of positions by positions; expected at most {MOST_POSITIONS} in the layer, "
                f"got {positions}. Choose a deeper layer, or use 'eigencam'."
            )
        return first_kernel_component(evidence.activations, gamma=self.gamma, coef0=self.coef0)


def first_kernel_component(maps: Maps, *, gamma: float | None = None, coef0: float = 1.0) -> RawMap:
    """Return each position's coordinate on the first principal component of the sigmoid kernel over channels; NaN counts as 0."""
    # As for the linear component float32 is not enough; MPS has no float64.
    dtype = torch.float32 if maps.device.type == "mps" else torch.float64
    points = maps.nan_to_num(nan=0.0).to(dtype).flatten(2).transpose(1, 2)  # (n, positions, channels)
    points = points - points.mean(dim=1, keepdim=True)
    kernel = torch.tanh((1 / points.shape[2] if gamma is None else gamma) * (points @ points.transpose(1, 2)) + coef0)
    values, vectors = torch.linalg.eigh(_centred(kernel))
    # The sigmoid kernel may have negative eigenvalues; the first component is that of the largest.
    component = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    component = oriented(component, points)
    return component.unflatten(1, maps.shape[2:]).to(maps.dtype)


def _centred(kernel: Float[Tensor, "n p p"]) -> Float[Tensor, "n p p"]:
    """Return the kernel of the mean-free features, without computing the features."""
    rows, columns = kernel.mean(dim=1, keepdim=True), kernel.mean(dim=2, keepdim=True)
    return kernel - rows - columns + rows.mean(dim=2, keepdim=True)
