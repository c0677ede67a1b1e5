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
"""A matrix of that many squared takes half a GiB, its eigenvectors as much again and minutes; larger ones end the process."""


@METHODS.register_module()
class KPCACAM(BaseMethod):
    """First kernel principal component of the activations: what varies most, curved relations included, whatever the class.

    The kernel is the sigmoid one, tanh(gamma <a, b> + coef0), of the channels less their means; kernel and defaults are those of the
    authors' implementation in pytorch-grad-cam (scikit-learn's KernelPCA). Differs from it: the sign, which a component does not
    have, is set as `camtool.functional.oriented` says. It costs a square matrix of positions.

    Args:
        gamma: factor of the scalar product; None: 1 / channels.
        coef0: what is added to it.
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
                f"Method '{self.name}' makes a matrix of positions by positions; the layer has {positions}, expected at most "
                f"{MOST_POSITIONS}. Choose a deeper layer, or use 'eigencam'."
            )
        return first_kernel_component(evidence.activations, gamma=self.gamma, coef0=self.coef0)


def first_kernel_component(maps: Maps, *, gamma: float | None = None, coef0: float = 1.0) -> RawMap:
    """Return every position's coordinate on the first principal component of the sigmoid kernel over channels; NaN counts as 0."""
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
    """Return the kernel of the features less their mean, which are never computed."""
    rows, columns = kernel.mean(dim=1, keepdim=True), kernel.mean(dim=2, keepdim=True)
    return kernel - rows - columns + rows.mean(dim=2, keepdim=True)
