"""Pure tensor functions of class activation maps, for any number of spatial axes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from camtool.types import Maps, RawMap

_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}

UNDECIDED = 1e-4
"""Share of its largest possible value below which a sum may be rounding error: a layer norm's sum over channels is 1e-8 of it in
float32, 1e-5 in bfloat16; that of an ordinary layer with 2048 channels is about 3e-3 of it."""

FLAT_SHARE = 1e-5  # float32 rounds a constant map's sums over channels to less
"""Maps whose differences are below this share of the largest value are flat; scaled to [0, 1] rounding would look like a map."""


def to_float32(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or unchanged if it is float64.

    Example:
        >>> import torch
        >>> from camtool.functional import to_float32
        >>> to_float32(torch.zeros(1, dtype=torch.float16)).dtype, to_float32(torch.zeros(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def holds_for_some(of_sample: Bool[Tensor, " n"]) -> bool:
    """Return whether something holds for some samples and not for all.

    Example:
        >>> import torch
        >>> from camtool.functional import holds_for_some
        >>> holds_for_some(torch.tensor([True, False])), holds_for_some(torch.tensor([True, True]))
        (True, False)
    """
    return bool(of_sample.any()) and not bool(of_sample.all())


def not_finite(values: Shaped[Tensor, "n *rest"]) -> Bool[Tensor, " n"]:
    """Return which samples have NaN or infinite values.

    Example:
        >>> import torch
        >>> from camtool.functional import not_finite
        >>> not_finite(torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]))
        tensor([False,  True])
    """
    return ~values.flatten(1).isfinite().all(dim=1)


def spatial_axes(maps: Tensor) -> tuple[int, ...]:
    """Return the spatial axes of a tensor (n, c, *spatial)."""
    return tuple(range(2, maps.ndim))


def spatial_mean(maps: Maps) -> Float[Tensor, "n c *ones"]:
    """Return the mean over positions, with the spatial axes kept at size 1.

    Example:
        >>> import torch
        >>> from camtool.functional import spatial_mean
        >>> spatial_mean(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
        tensor([[[[3.]]]])
    """
    return maps.mean(dim=spatial_axes(maps), keepdim=True)


def spatial_sum(maps: Maps) -> Float[Tensor, "n c *ones"]:
    """Return the sum over positions, with the spatial axes kept at size 1."""
    return maps.sum(dim=spatial_axes(maps), keepdim=True)


def min_max(maps: RawMap) -> RawMap:
    """Return each sample scaled to [0, 1], however small its values are; a constant sample becomes zero.

    Differs from pytorch-grad-cam, whose 1e-7 in the denominator darkens a map of small values: to nothing where the score is a
    probability near 1.

    Example:
        >>> import torch
        >>> from camtool.functional import min_max
        >>> min_max(torch.tensor([[2.0, 4.0, 6.0], [1.0, 1.0, 1.0]]))
        tensor([[0.0000, 0.5000, 1.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    axes = tuple(range(1, maps.ndim))
    shifted = maps - maps.amin(dim=axes, keepdim=True)
    return shifted / shifted.amax(dim=axes, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def positive_part(maps: RawMap) -> RawMap:
    """Return the positive part of raw maps; zeros of a flat one.

    Example:
        >>> import torch
        >>> from camtool.functional import positive_part
        >>> positive_part(torch.tensor([[-2.0, 4.0], [3.0, 3.0]]))
        tensor([[0., 4.],
                [0., 0.]])
    """
    positive = maps.clamp(min=0)
    axes = tuple(range(1, positive.ndim))
    highest, lowest = positive.amax(dim=axes, keepdim=True), positive.amin(dim=axes, keepdim=True)
    return torch.where(highest - lowest > FLAT_SHARE * highest, positive, 0)


def over_maximum(maps: RawMap) -> RawMap:
    """Return each sample divided by its largest value, so that the lowest of its positive values is not lost; zeros without any.

    Example:
        >>> import torch
        >>> from camtool.functional import over_maximum
        >>> over_maximum(torch.tensor([[2.0, 4.0, 8.0], [0.0, 0.0, 0.0]]))
        tensor([[0.2500, 0.5000, 1.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    positive = maps.clamp(min=0)
    return positive / positive.amax(dim=tuple(range(1, maps.ndim)), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def resize(maps: RawMap, size: Sequence[int], *, align_corners: bool = False) -> Float[Tensor, "n *size"]:
    """Return the maps interpolated linearly to `size`.

    Args:
        align_corners: align the centres of the corner cells; by default the cells' borders are aligned, as in cv2.resize.

    Example:
        >>> import torch
        >>> from camtool.functional import resize
        >>> resize(torch.tensor([[[0.0, 4.0]]]), (1, 4))
        tensor([[[0., 1., 3., 4.]]])
    """
    mode = _INTERPOLATION[maps.ndim - 1]
    return F.interpolate(maps.unsqueeze(1), size=tuple(size), mode=mode, align_corners=align_corners).squeeze(1)


def fuse(layers: Sequence[RawMap]) -> RawMap:
    """Return the mean over layers of maps of one size, scaled to [0, 1] per sample.

    Example:
        >>> import torch
        >>> from camtool.functional import fuse
        >>> fuse([torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0]])])
        tensor([[0.0000, 0.5000, 1.0000]])
    """
    return min_max(torch.stack([layer.clamp(min=0) for layer in layers]).mean(dim=0))


def first_component(maps: Maps) -> RawMap:
    """Return the projection of every position on the first principal component over channels.

    Eigen-CAM, Muhammad & Yeasin 2020, arXiv:2008.00299, sec. III. NaN counts as 0. The sign of a singular vector is
    arbitrary; `oriented` fixes it.

    Example:
        >>> import torch
        >>> from camtool.functional import first_component
        >>> first_component(torch.tensor([[[0.0, 3.0, 6.0]]]))  # one channel: its values less their mean
        tensor([[-3.,  0.,  3.]])
    """
    # float32 loses 2e-5 on a ViT; MPS has no float64.
    dtype = torch.float32 if maps.device.type == "mps" else torch.float64
    points = maps.nan_to_num(nan=0.0).to(dtype).flatten(2).transpose(1, 2)  # (n, positions, channels)
    centred = points - points.mean(dim=1, keepdim=True)
    projection = oriented(_leading_projection(centred), centred)
    return projection.unflatten(1, maps.shape[2:]).to(maps.dtype)


def oriented(component: Float[Tensor, "n p"], centred: Float[Tensor, "n p c"]) -> Float[Tensor, "n p"]:
    """Return a principal component of `centred` with a sign that does not depend on rounding errors.

    The first of three rules that more than rounding decides applies: the component correlates positively with the sum over channels;
    its third moment is positive, so that its few large values are positive; the first of its large values is positive. The first rule
    is undecided behind a layer norm with initial weights, whose sum over channels is zero.
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
