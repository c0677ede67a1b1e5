"""The score of a class in a region of a dense output, for semantic segmentation."""

import operator
from typing import Any, SupportsIndex

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from camtool.errors import TargetError, times
from camtool.registry import TARGETS
from camtool.targets.output import Output, described


@TARGETS.register_module()
class Region:
    """The sum of one class's scores over a region of a dense output (classes, *spatial): Seg-Grad-CAM's target, arXiv:2002.11434.

    Args:
        mask: (*spatial), a tensor or an array; the region is where it is not zero. A mask of another size than the output is resized
            (nearest neighbour), so that it can be drawn on the picture.
        index: of the class, 0 to classes - 1.

    Raises:
        TargetError: if the region is empty, also after resizing, or the output does not have the class or the number of axes.

    Example:
        >>> import torch
        >>> from camtool.targets import Region
        >>> target = Region([[1, 1], [0, 0]], index=1)
        >>> target
        Region(2 positions of 2x2, 1)
        >>> target(torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]))
        tensor(2.)
    """

    name = "region"

    def __init__(self, mask: Any, index: SupportsIndex) -> None:
        self.mask: Bool[Tensor, "*spatial"] = torch.as_tensor(mask).detach() != 0
        self.index = operator.index(index)
        if not 1 <= self.mask.ndim <= 3:
            raise TargetError(
                f"Expected a region's mask with one to three axes, the output's spatial ones; got shape {tuple(self.mask.shape)}."
            )
        if not self.mask.any():
            raise TargetError(f"The region is empty: its mask {tuple(self.mask.shape)} is zero everywhere.")

    def __call__(self, scores: Float[Tensor, "classes *spatial"]) -> Float[Tensor, ""]:
        """Return the sum of the class's scores inside the region."""
        inside = _resized(self.mask.to(scores.device), scores.shape[1:])
        return scores[self.index][inside].sum()

    def fitted(self, output: Output, sample: int) -> "Region":
        """Return the region at the output's size; TargetError if it is empty there, or the output is not (n, classes, *spatial)."""
        if not isinstance(output, Tensor) or output.ndim != 2 + self.mask.ndim:
            raise TargetError(
                f"A region of shape {tuple(self.mask.shape)} needs an output (n, classes, *spatial) with {self.mask.ndim} spatial axes; "
                f"the network gives {described(output)}."
            )
        if not 0 <= self.index < output.shape[1]:
            raise TargetError(
                f"Class index {self.index} is out of range: the network has {output.shape[1]} classes, 0 to {output.shape[1] - 1}."
            )
        spatial = output.shape[2:]
        resized = _resized(self.mask.to(output.device), spatial)
        if not resized.any():
            raise TargetError(f"The region is too small: at the output's size, {times(spatial)}, it is empty. Try a larger region.")
        return Region(resized, self.index)

    def flipped(self, width: int) -> "Region":
        """Return the target of the picture mirrored along its last axis."""
        return Region(self.mask.flip(-1), self.index)

    def __repr__(self) -> str:
        return f"Region({int(self.mask.sum())} positions of {times(self.mask.shape)}, {self.index})"


def _resized(mask: Bool[Tensor, "*spatial"], size: torch.Size) -> Bool[Tensor, "*size"]:
    if mask.shape == size:
        return mask
    return F.interpolate(mask[None, None].float(), size=tuple(size), mode="nearest-exact")[0, 0] != 0
