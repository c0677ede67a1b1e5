"""Noisy copies of inputs, the same whatever else is in the batch."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import to_float32


class Noise:
    """Gaussian noise of a share of each sample's range, the i-th copy's the same for every sample, device and number of copies.

    Args:
        samples: how many copies.
        sigma: the standard deviation as a share of the sample's range, max - min.
        seed: of the draws.

    Raises:
        MethodError: if there is no copy, or sigma is negative.
    """

    def __init__(self, method: str, *, samples: int, sigma: float, seed: int) -> None:
        if samples < 1 or not sigma >= 0:
            raise MethodError(f"Method '{method}': expected at least one sample and a sigma of 0 or more, got {samples} and {sigma}.")
        self._samples = samples
        self._sigma = sigma
        self._seed = seed

    def copies(self, inputs: Float[Tensor, "n channels *size"]) -> list[Float[Tensor, "n channels *size"]]:
        """Return the noisy copies of all samples."""
        plain = to_float32(inputs)
        axes = tuple(range(1, plain.ndim))
        scale = self._sigma * (plain.amax(dim=axes, keepdim=True) - plain.amin(dim=axes, keepdim=True))
        # Drawn on the CPU: the same noise on every device; not the global generator, which is the caller's.
        generator = torch.Generator().manual_seed(self._seed)
        draws = (torch.randn(inputs.shape[1:], generator=generator, dtype=torch.float64) for _ in range(self._samples))
        return [(plain + scale * draw.to(plain.device, plain.dtype)).to(inputs.dtype) for draw in draws]
