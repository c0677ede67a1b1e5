"""CenterCAM: a Gaussian in the middle, the baseline of photographers, who put what matters there."""

import torch

from camtool.errors import MethodError
from camtool.methods._base import BaseMethod, Evidence
from camtool.registry import METHODS
from camtool.types import RawMap


@METHODS.register_module()
class CenterCAM(BaseMethod):
    """A Gaussian in the middle of the layer's grid, the same for every input: what a map must be better than.

    Args:
        sigma: its standard deviation as a share of each axis' length; positive.
    """

    name = "centercam"
    paper = "none: a baseline"
    cost = "1 forward"
    class_discriminative = False

    def __init__(self, *, sigma: float = 0.25) -> None:
        self.sigma = float(sigma)
        if not self.sigma > 0:
            raise MethodError(f"Method '{self.name}': sigma is a share of the length, above 0, got {sigma!r}.")

    def raw_map(self, evidence: Evidence) -> RawMap:
        activations = evidence.activations
        raw = torch.ones_like(activations[:, 0])
        for axis, length in enumerate(raw.shape[1:], start=1):
            centres = (torch.arange(length, device=raw.device, dtype=raw.dtype) + 0.5) / length - 0.5
            profile = (-(centres**2) / (2 * self.sigma**2)).exp()
            raw = raw * profile.view(-1, *[1] * (raw.ndim - 1 - axis))
        return raw
