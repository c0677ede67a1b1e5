"""CenterCAM: a Gaussian in the middle of the picture, where photographers place the main object."""

import torch

from camtool.errors import MethodError
from camtool.methods._base import BaseMethod, Evidence
from camtool.registry import METHODS
from camtool.types import RawMap


@METHODS.register_module()
class CenterCAM(BaseMethod):
    """Returns a Gaussian in the middle of the layer's grid, the same for every input: a baseline.

    Args:
        sigma: standard deviation as a share of each axis' length; positive.

    Raises:
        MethodError: if `sigma` is not positive.

    Example:
        >>> import torch
        >>> from camtool.methods import CenterCAM, Evidence
        >>> raw = CenterCAM().raw_map(Evidence(torch.zeros(1, 8, 3, 3), None, lambda: None))
        >>> raw.shape, raw[0, 1, 1]
        (torch.Size([1, 3, 3]), tensor(1.))
    """

    name = "centercam"
    paper = "none: a baseline"
    cost = "1 forward"
    class_discriminative = False

    def __init__(self, *, sigma: float = 0.25) -> None:
        self.sigma = float(sigma)
        if not self.sigma > 0:
            raise MethodError(f"Method '{self.name}': expected a sigma above 0, a share of the axis' length, got {sigma!r}.")

    def raw_map(self, evidence: Evidence) -> RawMap:
        activations = evidence.activations
        raw = torch.ones_like(activations[:, 0])
        for axis, length in enumerate(raw.shape[1:], start=1):
            centres = (torch.arange(length, device=raw.device, dtype=raw.dtype) + 0.5) / length - 0.5
            profile = (-(centres**2) / (2 * self.sigma**2)).exp()
            raw = raw * profile.view(-1, *[1] * (raw.ndim - 1 - axis))
        return raw
