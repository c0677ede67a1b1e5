"""RandomCAM: activations with random weights, a baseline; as in pytorch-grad-cam."""

import operator

import torch

from camtool.methods._base import ActivationMethod
from camtool.registry import METHODS
from camtool.types import Maps, Weights


@METHODS.register_module()
class RandomCAM(ActivationMethod):
    """Weights each channel by a seeded draw from U(-1, 1), the same for every sample.

    Args:
        seed: seed of the draws.

    Example:
        >>> import torch
        >>> from camtool.methods import RandomCAM
        >>> activations = torch.ones(2, 16, 7, 7)
        >>> weights = RandomCAM(seed=1).weights(activations)
        >>> weights.shape, torch.equal(weights, RandomCAM(seed=1).weights(activations))
        (torch.Size([1, 16, 1, 1]), True)
    """

    name = "randomcam"
    paper = "pytorch-grad-cam 1.5, RandomCAM"
    cost = "1 forward"

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = operator.index(seed)

    def weights(self, activations: Maps) -> Weights:
        # Drawn on the CPU: the same weights on every device.
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        draws = torch.rand(activations.shape[1], generator=generator, dtype=torch.float64, device="cpu") * 2 - 1
        spatial = activations.ndim - 2
        return draws.to(activations.device, activations.dtype).reshape(1, -1, *[1] * spatial)
