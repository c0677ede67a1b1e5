"""EdgeCAM: edges of the input, the baseline of Adebayo et al. 2018, "Sanity Checks for Saliency Maps", arXiv:1810.03292."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from camtool.functional import to_float32
from camtool.methods._base import BaseMethod, Evidence
from camtool.registry import METHODS
from camtool.types import Maps, RawMap

_POOL: dict[int, Callable[..., Tensor]] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


@METHODS.register_module()
class EdgeCAM(BaseMethod):
    """Averages the Sobel magnitude of the input over each cell of the layer's grid: an edge detector as a baseline.

    The average over the layer's cells makes the baseline as coarse as the maps it is compared with; choose an early layer for finer
    ones. Differs from the paper, which compares maps with an edge detector at the input's resolution.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> model = nn.Sequential(nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> picture = torch.zeros(1, 1, 8, 8)
        >>> picture[..., 5:] = 1.0  # a vertical edge between columns 4 and 5
        >>> CAM(model, "[0]", "edgecam")(picture, 0).raw["[0]"][0, 0]
        tensor([0.0000, 0.0000, 0.5000, 0.0000])
    """

    name = "edgecam"
    paper = "arXiv:1810.03292"
    cost = "1 forward"
    class_discriminative = False

    def raw_map(self, evidence: Evidence) -> RawMap:
        grid = evidence.activations.shape[2:]
        edges = sobel_magnitude(to_float32(evidence.queries(self.name).inputs)).to(evidence.activations.dtype)
        return _POOL[len(grid)](edges, tuple(grid)).squeeze(1)


def sobel_magnitude(inputs: Maps) -> Tensor:
    """Return the root of the sum over channels and axes of the squared Sobel derivatives, (n, 1, *size), per position.

    The derivative of an axis is (-1, 0, 1) / 2 along it, smoothed by (1, 2, 1) / 4 along all others; borders are repeated.
    """
    axes = range(2, inputs.ndim)
    squares = []
    for derived in axes:
        edges = inputs
        for axis in axes:
            before, after = _shifted(edges, axis)
            edges = (after - before) / 2 if axis == derived else (before + 2 * edges + after) / 4
        squares.append(edges**2)
    return torch.stack(squares).sum(dim=0).sum(dim=1, keepdim=True).sqrt()


def _shifted(inputs: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return each position's neighbours before and behind it along `axis`; borders are repeated."""
    length = inputs.shape[axis]
    before = torch.cat([inputs.narrow(axis, 0, 1), inputs.narrow(axis, 0, length - 1)], dim=axis)
    after = torch.cat([inputs.narrow(axis, 1, length - 1), inputs.narrow(axis, length - 1, 1)], dim=axis)
    return before, after
