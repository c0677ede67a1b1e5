"""The score of a class in a region of a dense output, for semantic segmentation."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from camtool.errors import TargetError, times
from camtool.registry import TARGETS
from camtool.targets._base import class_index
from camtool.targets.output import Output, described


@TARGETS.register_module()
class Region:
    """The sum of one class's scores over a region of a dense output (classes, *spatial): Seg-Grad-CAM's target, arXiv:2002.11434.

    Of a network that scores each frame of a signal, the region is a span of frames.

    Args:
        mask: (*spatial), a tensor or an array; of whole numbers or truth values, the region is where it is not zero; of floating-point
            numbers, these over their largest are the positions' weights, as of a soft mask. A mask of another size than the output is
            resized (nearest neighbour), so that it can be drawn on the picture.
        index: of the class, 0 to classes - 1.
        classes_last: whether one sample's output is (*spatial, classes), as (frames, classes) of a signal.

    Raises:
        TargetError: if weights are negative or not finite, the region is empty, also after resizing, or the output does not have the
            class or the number of axes.

    Example:
        >>> import torch
        >>> from camtool.targets import Region
        >>> target = Region([[1, 1], [0, 0]], index=1)
        >>> target
        Region(2 positions of 2x2, 1)
        >>> target(torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]))
        tensor(2.)
        >>> Region([[1.0, 0.5], [0.0, 0.0]], index=1)(torch.ones(2, 2, 2))  # a soft mask
        tensor(1.5000)
    """

    name = "region"

    def __init__(self, mask: Any, index: SupportsIndex, *, classes_last: bool = False) -> None:
        given = mask.detach() if isinstance(mask, Tensor) else torch.as_tensor(mask, device="cpu")
        if given.is_floating_point() and not ((given >= 0) & given.isfinite()).all():
            raise TargetError("Expected weights of zero or more in a region's mask, got negative or infinite ones or NaN.")
        self.mask: Tensor = _weights(given) if given.is_floating_point() else given != 0
        """(*spatial), truth values, or weights up to 1."""
        self.index, self.classes_last = class_index(index), classes_last
        if not 1 <= self.mask.ndim <= 3:
            raise TargetError(
                f"Expected a region's mask with one to three axes, the output's spatial ones; got shape {tuple(self.mask.shape)}."
            )
        if not self.mask.any():
            raise TargetError(f"The region is empty: its mask {tuple(self.mask.shape)} is zero everywhere.")

    @classmethod
    def predicted(cls, scores: Float[Tensor, "classes *spatial"], index: SupportsIndex) -> "Region":
        """Return the region of a class where the network sees it: where its score is the highest of a dense output's.

        Of an output with one class it is where that is positive, or above 0.5 where all scores are in [0, 1].

        Raises:
            TargetError: if the output has no such class, or it is seen nowhere; the message says which classes are.

        Example:
            >>> import torch
            >>> from camtool.targets import Region
            >>> Region.predicted(torch.tensor([[0.0, 3.0, 0.0], [1.0, 2.0, 1.0]]), index=1)
            Region(2 positions of 3, 1)
        """
        index, classes = class_index(index), len(scores)
        if not 0 <= index < classes:
            raise TargetError(f"Class index {index} is out of range: the network has {classes} classes, 0 to {classes - 1}.")
        scores = scores.detach()
        best = scores.argmax(dim=0) if classes > 1 else torch.where(scores[0] > _threshold(scores), 0, -1)
        if not (best == index).any():
            seen = ", ".join(str(other) for other in best.unique().tolist() if other >= 0) or "none"
            raise TargetError(f"Class {index} has nowhere the highest score; expected one that is seen here: {seen}.")
        return cls(best == index, index)

    def __call__(self, scores: Float[Tensor, "classes *spatial"]) -> Float[Tensor, ""]:
        """Return the sum of the class's scores inside the region."""
        scores = scores.movedim(-1, 0) if self.classes_last else scores
        mask = _resized(self.mask.to(scores.device), scores.shape[1:])
        inside = mask != 0  # a product with zero would be NaN where scores are infinite
        of_region = scores[self.index][inside]
        return (of_region * mask[inside].to(scores.dtype)).sum() if mask.is_floating_point() else of_region.sum()

    def fitted(self, output: Output, sample: int) -> "Region":
        """Return the region at the output's size; TargetError if it is empty there, or the output is not (n, classes, *spatial)."""
        if not isinstance(output, Tensor) or output.ndim != 2 + self.mask.ndim:
            axes = "(n, *spatial, classes)" if self.classes_last else "(n, classes, *spatial)"
            raise TargetError(
                f"A region of shape {tuple(self.mask.shape)} needs an output {axes} with {self.mask.ndim} spatial axes; "
                f"the network gives {described(output)}."
            )
        classes = output.shape[-1 if self.classes_last else 1]
        if not 0 <= self.index < classes:
            raise TargetError(f"Class index {self.index} is out of range: the network has {classes} classes, 0 to {classes - 1}.")
        spatial = output.shape[1:-1] if self.classes_last else output.shape[2:]
        resized = _resized(self.mask.to(output.device), spatial)
        if not resized.any():
            raise TargetError(f"The region is too small: at the output's size, {times(spatial)}, it is empty. Try a larger region.")
        return self._of(resized)

    def cropped(self, place: Sequence[slice], size: Sequence[int]) -> "Region | None":
        """Return the region within a window of an input; None if nothing of it is there.

        Args:
            place: the window, by axis.
            size: spatial size of the input; a mask of another size is resized.

        Raises:
            TargetError: if the mask has another number of axes.
        """
        if self.mask.ndim != len(size):
            raise TargetError(f"Expected a region's mask with {len(size)} axes, as the input, got shape {tuple(self.mask.shape)}.")
        inside = _resized(self.mask, torch.Size(size))[tuple(place)]
        return self._of(inside) if inside.any() else None

    def flipped(self, width: int) -> "Region":
        """Return the target of the picture mirrored along its last axis."""
        return self._of(self.mask.flip(-1))

    def _of(self, mask: Tensor) -> "Region":
        return Region(mask, self.index, classes_last=self.classes_last)

    def __repr__(self) -> str:
        return f"Region({int((self.mask != 0).sum())} positions of {times(self.mask.shape)}, {self.index})"


def _threshold(scores: Tensor) -> float:
    low, high = scores.aminmax()
    return 0.5 if low >= 0 and high <= 1 else 0.0


def _weights(mask: Float[Tensor, "*spatial"]) -> Float[Tensor, "*spatial"]:
    return mask / mask.amax().clamp(min=torch.finfo(mask.dtype).tiny) if mask.numel() else mask


def _resized(mask: Shaped[Tensor, "*spatial"], size: torch.Size) -> Shaped[Tensor, "*size"]:
    if mask.shape == size:
        return mask
    return F.interpolate(mask[None, None].to(torch.float32), size=tuple(size), mode="nearest-exact")[0, 0].to(mask.dtype)
