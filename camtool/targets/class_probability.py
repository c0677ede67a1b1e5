"""The probability of one class."""

from typing import SupportsIndex

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets._base import ClassTarget

SCALES = ("softmax", "sigmoid")


@TARGETS.register_module()
class ClassProbability(ClassTarget):
    """The probability of one class, in [0, 1]: what raises it speaks for the class or against the others.

    Args:
        scale: "softmax" over the classes, or "sigmoid" for networks that decide on each class by itself. A single score is always
            put through a sigmoid: a softmax of one is constant.

    Raises:
        TargetError: if there is no such scale.

    Its gradient is p (1 - p) at the class's own logit, so it all but vanishes where the network is sure; maps are scaled to
    [0, 1], and mean the same there until p is 0 or 1 to the last digit.
    """

    name = "probability"

    def __init__(self, index: SupportsIndex, *, scale: str = "softmax") -> None:
        super().__init__(index)
        if scale not in SCALES:
            raise TargetError(f"Unknown scale {scale!r} of probabilities; expected one of: {', '.join(SCALES)}.")
        self.scale = scale

    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the class's probability."""
        if self.scale == "sigmoid" or len(logits) == 1:
            return logits[self.index].sigmoid()
        return logits.softmax(dim=0)[self.index]
