"""Groups of channels, and clusters of classes: sums of maps."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import DataError


def group_maps(contributions: Float[Tensor, "n c *spatial"], groups: int) -> Float[Tensor, "n groups *spatial"]:
    """Return a map for each contiguous block of channels, of networks with grouped convolutions: the sum of w_c A_c of the block.

    Raises:
        DataError: if the channels do not divide into so many blocks of one size.

    Example:
        >>> import torch
        >>> group_maps(torch.tensor([[[1.0], [2.0], [4.0], [8.0]]]), 2).tolist()
        [[[3.0], [12.0]]]
    """
    channels = contributions.shape[1]
    if groups < 1 or channels % groups:
        raise DataError(f"Expected a number of groups that divides {channels} channels, got {groups}.")
    return contributions.unflatten(1, (groups, channels // groups)).sum(dim=2)


def cluster_classes(maps: Float[Tensor, "n classes *spatial"], sizes: Sequence[int]) -> Float[Tensor, "n clusters *spatial"]:
    """Return the sum of the rescaled maps of consecutive classes, so many of them each: sizes of 15, 15, 3 and 10 are 43 classes.

    Raises:
        DataError: if a size is below 1, or they do not add up to the number of classes.

    Example:
        >>> import torch
        >>> cluster_classes(torch.tensor([[[1.0], [2.0], [4.0]]]), [2, 1]).tolist()
        [[[3.0], [4.0]]]
    """
    classes = maps.shape[1]
    if not sizes or min(sizes) < 1 or sum(sizes) != classes:
        raise DataError(f"Expected sizes of clusters that add up to {classes} classes, got {list(sizes)}, which add up to {sum(sizes)}.")
    return torch.stack([part.sum(dim=1) for part in maps.split(list(sizes), dim=1)], dim=1)
