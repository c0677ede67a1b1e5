"""Maps of a CAM call as packages give them that do not scale: the positive part at the input's size, the mean over layers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.attribution.result import CAMResult
from camtool.placement import placed


def positive_at_size(result: CAMResult, size: Sequence[int]) -> Float[Tensor, "n *size"]:
    """Return the positive part of a result's raw maps, resized, averaged over its layers; not scaled."""
    return torch.stack([placed(raw.clamp(min=0), size, result.placement.get(path)) for path, raw in result.raw.items()]).mean(dim=0)
