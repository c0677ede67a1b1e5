"""What is done to maps (n, 1, *feature): upsampling, and two conventions of scaling."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from camtool.functional import min_max, resize


def default_upsampler(spatial_size: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Return the function that interpolates maps (n, 1, *feature) linearly to a size.

    Example:
        >>> import torch
        >>> from camtool.compat.monai import default_upsampler
        >>> default_upsampler((4,))(torch.tensor([[[0.0, 4.0]]]))
        tensor([[[0., 1., 3., 4.]]])
    """
    return lambda maps: resize(maps.squeeze(1), spatial_size).unsqueeze(1)


def hottest_is_one(maps: Float[Tensor, "n one *spatial"]) -> Float[Tensor, "n one *spatial"]:
    """Return the positive part of each map scaled to [0, 1], its largest value to 1: camtool's convention, and the default here.

    Example:
        >>> import torch
        >>> from camtool.compat.monai import default_normalizer, hottest_is_one
        >>> maps = torch.tensor([[[0.0, 1.0, 4.0]]])
        >>> hottest_is_one(maps), default_normalizer(maps)
        (tensor([[[0.0000, 0.2500, 1.0000]]]), tensor([[[1.0000, 0.7500, 0.0000]]]))
    """
    return min_max(maps.clamp(min=0))


def default_normalizer(x: Float[Tensor, "n one *spatial"]) -> Float[Tensor, "n one *spatial"]:
    """Return each map scaled to [0, 1] upside down, as MONAI does: its largest value is 0 and its smallest 1.

    `GradCAM(…, postprocessing=default_normalizer)` gives the numbers of a program that was written for MONAI; where its result is drawn
    as a heat map, what matters is cold. A map that is the same everywhere is 1, as one of smallest values alone.
    """
    return 1 - min_max(x)
