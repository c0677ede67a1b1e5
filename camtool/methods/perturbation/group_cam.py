"""Group-CAM: Zhang, Rao & Yang 2021, arXiv:2103.13859."""

import math
import operator
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import spatial_mean
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.placement import placed
from camtool.registry import METHODS
from camtool.types import Maps, RawMap


@METHODS.register_module()
class GroupCAM(BaseMethod):
    """Weights groups of Grad-CAM's channels by the rise of the score when their region of a blurred picture is restored.

    Neighbouring channels form a group. Its mask is the positive part of the sum of its channels times their mean gradients, with the
    lower 70 % set to zero, resized to the input and scaled to [0, 1]. The mask of a group that is constant is zero.

    Differs from the authors' code: the rise is that of the target's score, by default a logit, not of a probability; and the sum is
    taken at the size of the layer, which is the same up to the resize.

    Args:
        groups: maximum number of groups, at least 1, and of forward passes; fewer if the layer has fewer channels.
        quantile: share of each mask that is set to zero, in [0, 1).
        kernel: width of the blur's Gaussian in pixels, at least 1; narrower if the picture is smaller.
        sigma: standard deviation of the Gaussian in pixels, above 0.

    Raises:
        ValueError: if a setting is out of its range.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "groupcam", "groups": 16})
        >>> method.groups, method.quantile
        (16, 0.7)
    """

    name = "groupcam"
    paper = "arXiv:2103.13859"
    cost = "32 forwards + tail backward"
    needs = Needs(gradients=True)

    def __init__(self, *, groups: int = 32, quantile: float = 0.7, kernel: int = 51, sigma: float = 50.0) -> None:
        self.groups = operator.index(groups)
        self.quantile = float(quantile)
        self.kernel = operator.index(kernel)
        self.sigma = float(sigma)
        if self.groups < 1 or not 0 <= self.quantile < 1 or self.kernel < 1 or not self.sigma > 0:
            raise ValueError(
                f"expected groups and kernel of at least 1, a quantile in [0, 1) and a sigma above 0, got {groups}, {kernel}, {quantile} "
                f"and {sigma}"
            )

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return math.ceil(channels / max(math.ceil(channels / self.groups), 1)) + 1  # as torch.chunk; the blurred picture

    def raw_map(self, evidence: Evidence) -> RawMap:
        queries = evidence.queries(self.name)
        if evidence.gradients is None:
            raise MethodError(f"Method '{self.name}' needs gradients, which the evidence does not have.")
        inputs, weighted = queries.inputs, spatial_mean(evidence.gradients) * evidence.activations
        groups = torch.stack([group.sum(dim=1) for group in weighted.chunk(self.groups, dim=1)], dim=1)
        small = _upper(groups.clamp(min=0), self.quantile)  # (n, groups, *spatial)
        large = placed(small.flatten(0, 1), inputs.shape[2:], evidence.placement).unflatten(0, small.shape[:2])
        lowest, highest = large.flatten(2).aminmax(dim=2)
        span = (highest - lowest).clamp(min=torch.finfo(large.dtype).tiny)

        def scaled(masks: Tensor) -> Tensor:
            ones = [1] * (masks.ndim - 2)
            return (masks - lowest.view(*lowest.shape, *ones)) / span.view(*span.shape, *ones)

        # The last mask is zero: the fully blurred picture.
        masks = torch.cat([scaled(large), torch.zeros_like(large[:, :1])], dim=1)
        blurred = blur(inputs.to(masks.dtype), self.kernel, self.sigma)

        def copies(start: int, stop: int) -> Float[Tensor, "n copies channels *size"]:
            shown = masks[:, start:stop].unsqueeze(2)
            return shown * inputs.unsqueeze(1) + (1 - shown) * blurred.unsqueeze(1)

        scores = queries.scores_of_inputs(masks.shape[1], copies)
        rises = scores[:, :-1] - scores[:, -1:]
        return (rises.view(*rises.shape, *[1] * (small.ndim - 2)) * scaled(small)).sum(dim=1)


def _upper(maps: Maps, quantile: float) -> Maps:
    """Return the maps with 0 where they do not exceed their quantile, interpolated linearly between values."""
    flat = maps.flatten(2)
    ordered = flat.sort(dim=2).values  # torch.quantile refuses more than 16 million values
    place = quantile * (flat.shape[2] - 1)
    below = int(place)
    above = min(below + 1, flat.shape[2] - 1)
    threshold = torch.lerp(ordered[:, :, below], ordered[:, :, above], place - below).unsqueeze(2)
    return flat.where(flat > threshold, 0).unflatten(2, maps.shape[2:])


def blur(pictures: Float[Tensor, "n channels *size"], kernel: int, sigma: float) -> Float[Tensor, "n channels *size"]:
    """Return the pictures blurred by a Gaussian of `kernel` pixels' width along each axis, mirrored at the edges."""
    for axis in range(2, pictures.ndim):
        lines = pictures.movedim(axis, -1)
        reach = min(kernel // 2, lines.shape[-1] - 1)  # as far as the picture can be mirrored
        offsets = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
        weights = (-(offsets**2) / (2 * sigma**2)).exp()
        padded = F.pad(lines.reshape(-1, 1, lines.shape[-1]), (reach, reach), mode="reflect")
        pictures = F.conv1d(padded, (weights / weights.sum()).view(1, 1, -1)).view(lines.shape).movedim(-1, axis)
    return pictures
