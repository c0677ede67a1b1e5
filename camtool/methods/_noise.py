"""Noisy copies of inputs; a sample's noise does not depend on the rest of the batch."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import to_float32


class Noise:
    """Gaussian noise scaled by each sample's range; the i-th draw is the same for every sample, device and number of copies.

    Args:
        samples: number of copies, at least 1.
        sigma: standard deviation as a share of the sample's range, max - min; 0 or more.
        seed: seed of the draws.

    Raises:
        MethodError: if `samples` is below 1, or `sigma` is negative.
    """

    def __init__(self, method: str, *, samples: int, sigma: float, seed: int) -> None:
        if samples < 1 or not sigma >= 0:
            raise MethodError(f"Method '{method}': expected at least one sample and a sigma of 0 or more, got {samples} and {sigma}.")
        self._samples = samples
        self._sigma = sigma
        self._seed = seed

    def copies(self, inputs: Float[Tensor, "n channels *size"]) -> list[Float[Tensor, "n channels *size"]]:
        """Return `samples` noisy copies of the inputs."""
        plain = to_float32(inputs)
        axes = tuple(range(1, plain.ndim))
        scale = self._sigma * (plain.amax(dim=axes, keepdim=True) - plain.amin(dim=axes, keepdim=True))
        # Drawn on the CPU: the same noise on every device; not the global generator, which is the caller's.
        generator = torch.Generator(device="cpu").manual_seed(self._seed)
        draws = (torch.randn(inputs.shape[1:], generator=generator, dtype=torch.float64, device="cpu") for _ in range(self._samples))
        return [(plain + scale * draw.to(plain.device, plain.dtype)).to(inputs.dtype) for draw in draws]
