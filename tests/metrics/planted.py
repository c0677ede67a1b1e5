"""Networks whose explanation is known, and maps that fade from it to noise."""

import itertools

import torch
from torch import Tensor, nn

SIZES = {1: (40,), 2: (12, 14), 3: (6, 7, 8)}


class Planted(nn.Module):
    """Class 1's logit is a sum over an object of the input's values by positive weights, in all channels alike; class 0's is zero."""

    def __init__(self, weights: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.bias = bias

    def forward(self, inputs: Tensor) -> Tensor:
        score = (inputs * self.weights).flatten(1).sum(dim=1) + self.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)


def planted(
    rank: int, count: int = 6, channels: int = 2, *, double: bool = True, size: tuple[int, ...] = ()
) -> tuple[Planted, Tensor, Tensor]:
    """Return (network, inputs (n, c, *spatial) above zero, the truth (n, *spatial): what each position adds to the logit)."""
    size = size or SIZES[rank]
    generator = torch.Generator().manual_seed(rank)
    inside = torch.ones(())
    for length in size:
        places = torch.arange(length)
        inside = inside.unsqueeze(-1) * ((places >= length // 4) & (places < length // 4 + length // 3)).float()
    weights = inside * (0.5 + torch.rand(size, generator=generator))
    inputs = 0.5 + torch.rand(count, channels, *size, generator=generator)
    total = float((inputs[0] * weights).sum())
    weights, dtype = 6 * weights / total, torch.float64 if double else torch.float32
    network = Planted(weights.to(dtype), bias=-2.0)
    return network, inputs.to(dtype), (inputs * weights).sum(dim=1).to(dtype)


def noise_like(truth: Tensor, seed: int = 7) -> Tensor:
    """Return noise of the truth's size and scale."""
    return torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed), dtype=truth.dtype) * truth.amax()


def fading(truth: Tensor, steps: int = 5) -> list[Tensor]:
    """Return maps from the truth to noise."""
    noise = noise_like(truth)
    return [(1 - share) * truth + share * noise for share in torch.linspace(0, 1, steps).tolist()]


def is_monotone(values: list[float], *, falling: bool, slack: float = 0.0) -> bool:
    """Return whether values only fall (or rise), by more than nothing in all."""
    signed = [-value if falling else value for value in values]
    return all(later >= earlier - slack for earlier, later in itertools.pairwise(signed)) and signed[-1] > signed[0]
