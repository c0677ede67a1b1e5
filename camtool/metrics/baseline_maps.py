"""Maps that know nothing of the network: what a method's scores are to be compared with."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import DataError
from camtool.metrics.pairs import Seed, seeds_of
from camtool.metrics.settings import number, sizes_of


def random_maps(shape: Sequence[int], seed: Seed = 0) -> Float[Tensor, "n *spatial"]:
    """Return maps of independent uniform noise in [0, 1).

    Args:
        shape: (n, *spatial).
        seed: a number, to which a map's place in the batch is added, or one for each map.

    Raises:
        DataError: if the shape has no spatial axis, or there are not as many seeds.

    Example:
        >>> from camtool.metrics import random_maps
        >>> random_maps((2, 4, 5)).shape, bool((random_maps((1, 6), seed=1) == random_maps((2, 6))[1:]).all())
        (torch.Size([2, 4, 5]), True)
    """
    count, *size = _checked(shape)
    return torch.stack([torch.rand(size, generator=torch.Generator().manual_seed(own)) for own in seeds_of(seed, count)])


def center_maps(shape: Sequence[int], sigma: float | int = 0.25) -> Float[Tensor, "n *spatial"]:
    """Return maps of a Gaussian about the centre: where photographers put the object.

    A baseline of Choe et al. 2020, arXiv:2001.07437. Along each axis exp(-x^2 / 2) with x in standard deviations, so that its level sets
    are ellipses of the proportions of the input.

    Args:
        shape: (n, *spatial).
        sigma: standard deviation, as a share of each side.

    Raises:
        DataError: if the shape has no spatial axis, or `sigma` is not above 0.

    Example:
        >>> from camtool.metrics import center_maps
        >>> center_maps((1, 3), sigma=1 / 3).numpy().round(4)  # a position is one standard deviation
        array([[0.6065, 1.    , 0.6065]], dtype=float32)
    """
    count, *size = _checked(shape)
    sigma = number(sigma, "sigma as a share of each side above 0", lambda value: 0 < value < math.inf)
    exponent = torch.zeros(size, dtype=torch.float64)
    for axis, side in enumerate(size):
        places = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) / (sigma * side)
        exponent = exponent - places.square().view(-1, *[1] * (len(size) - 1 - axis)) / 2
    return exponent.exp().float().expand(count, *size).clone()


def edge_maps(inputs: Float[Tensor, "n c *spatial"]) -> Float[Tensor, "n *spatial"]:
    """Return the magnitude of the gradient of each picture, signal or volume: an edge detector, which no network is needed for.

    The root of the sum over channels and axes of squared central differences, (x[i + 1] - x[i - 1]) / 2, with the border repeated. What
    Adebayo et al. 2018, arXiv:1810.03292, show some maps to be hardly better than.

    Args:
        inputs: (n, c, *spatial), as a network takes them, or any other scale.

    Raises:
        DataError: if there is no spatial axis.

    Example:
        >>> import torch
        >>> from camtool.metrics import edge_maps
        >>> edge_maps(torch.tensor([[[0.0, 0.0, 6.0, 8.0]]]))
        tensor([[0., 3., 4., 1.]])
    """
    if not isinstance(inputs, Tensor) or inputs.ndim < 3:
        got = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise DataError(f"Expected inputs (n, c, *spatial), got {got}.")
    values = inputs.detach()
    values = values if values.dtype == torch.float64 else values.float()
    squares = torch.zeros_like(values)
    for axis in range(2, values.ndim):
        side = values.shape[axis]
        places = torch.arange(side, device=values.device)
        after, before = (values.index_select(axis, (places + step).clamp(0, side - 1)) for step in (1, -1))
        squares = squares + ((after - before) / 2).square()
    return squares.sum(dim=1).sqrt()


def _checked(shape: Sequence[int]) -> list[int]:
    sizes = sizes_of(shape, "the shape of maps (n, *spatial)")
    if len(sizes) < 2:
        raise DataError(f"Expected the shape of maps (n, *spatial), got {tuple(sizes)}.")
    return sizes
