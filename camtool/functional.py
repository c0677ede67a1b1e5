"""Pure tensor mathematics of class activation maps, for any number of spatial axes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from camtool.types import Maps, RawMap

_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}

UNDECIDED = 1e-4
"""A share of its largest possible value below which a sum may be rounding: a layer norm's sum over channels is 1e-8 of it in float32,
1e-5 in bfloat16; an ordinary layer's with 2048 channels is about 3e-3 of it."""


def to_float32(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or in float64 if it is that already."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def spatial_axes(maps: Tensor) -> tuple[int, ...]:
    """Return the axes behind (n, c)."""
    return tuple(range(2, maps.ndim))


def spatial_mean(maps: Maps) -> Float[Tensor, "n c *ones"]:
    """Return the mean over positions, with the spatial axes kept at size 1."""
    return maps.mean(dim=spatial_axes(maps), keepdim=True)


def spatial_sum(maps: Maps) -> Float[Tensor, "n c *ones"]:
    """Return the sum over positions, with the spatial axes kept at size 1."""
    return maps.sum(dim=spatial_axes(maps), keepdim=True)


def min_max(maps: RawMap) -> RawMap:
    """Return each sample scaled to [0, 1], however small its values are; a constant sample becomes zero.

    Differs from pytorch-grad-cam, whose 1e-7 in the denominator dims a map of small values: where the score is a probability near 1,
    to nothing.
    """
    axes = tuple(range(1, maps.ndim))
    shifted = maps - maps.amin(dim=axes, keepdim=True)
    return shifted / shifted.amax(dim=axes, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def resize(maps: RawMap, size: Sequence[int], *, align_corners: bool = False) -> Float[Tensor, "n *size"]:
    """Return the maps interpolated linearly to `size`; cells are aligned, as in cv2.resize, unless the centres of the corners are."""
    mode = _INTERPOLATION[maps.ndim - 1]
    return F.interpolate(maps.unsqueeze(1), size=tuple(size), mode=mode, align_corners=align_corners).squeeze(1)


def fuse(layers: Sequence[RawMap]) -> RawMap:
    """Return the mean over layers of maps of one size, scaled to [0, 1] per sample."""
    return min_max(torch.stack([layer.clamp(min=0) for layer in layers]).mean(dim=0))


def first_component(maps: Maps) -> RawMap:
    """Return the projection of every position on the first principal component over channels.

    Eigen-CAM, Muhammad & Yeasin 2020, arXiv:2008.00299, sec. III. NaN counts as 0. The sign, which a singular vector does not
    have, is that of `oriented`.
    """
    # float32 loses 2e-5 on a ViT; MPS has no float64.
    dtype = torch.float32 if maps.device.type == "mps" else torch.float64
    points = maps.nan_to_num(nan=0.0).to(dtype).flatten(2).transpose(1, 2)  # (n, positions, channels)
    centred = points - points.mean(dim=1, keepdim=True)
    projection = oriented(_leading_projection(centred), centred)
    return projection.unflatten(1, maps.shape[2:]).to(maps.dtype)


def oriented(component: Float[Tensor, "n p"], centred: Float[Tensor, "n p c"]) -> Float[Tensor, "n p"]:
    """Return a principal component of `centred` with a sign that rounding does not turn.

    The first of three rules that is decided by more than rounding holds: the component correlates positively with the sum over
    channels; it has a positive third moment, so that its few large values are positive; the first of its large values is positive.
    A layer norm with fresh weights makes the sum over channels zero, which leaves the first rule undecided.
    """
    total, size = centred.sum(dim=2), centred.abs().sum(dim=2)
    norm = component.norm(dim=1)
    agreement = (component * total).sum(dim=1) / (norm * size.norm(dim=1)).clamp(min=torch.finfo(norm.dtype).tiny)
    scaled = component / component.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(norm.dtype).tiny)
    skewness = (scaled**3).mean(dim=1) / (scaled.abs() ** 3).mean(dim=1).clamp(min=torch.finfo(norm.dtype).tiny)
    first_large = (scaled.abs() > 0.5).int().argmax(dim=1, keepdim=True)
    sign = scaled.gather(1, first_large).squeeze(1)
    for rule in (skewness, agreement):
        sign = torch.where(rule.abs() > UNDECIDED, rule, sign)
    return torch.where(sign.unsqueeze(1) < 0, -component, component)


def _leading_projection(centred: Float[Tensor, "n p c"]) -> Float[Tensor, "n p"]:
    # The smaller Gram matrix has the same leading singular value: 49 x 49 instead of 2048 x 2048 on a ResNet.
    positions, channels = centred.shape[1:]
    if channels <= positions:
        _, vectors = torch.linalg.eigh(centred.transpose(1, 2) @ centred)
        return (centred @ vectors[:, :, -1:]).squeeze(2)
    values, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))
    return vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
