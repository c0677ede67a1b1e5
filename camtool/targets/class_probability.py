"""The probability of one class."""

from typing import SupportsIndex

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets._base import ClassTarget

SCALES = ("softmax", "sigmoid", "probability")


@TARGETS.register_module()
class ClassProbability(ClassTarget):
    """The probability of one class, in [0, 1]; evidence for the class and against the others raises it.

    Args:
        scale: "softmax" over the classes, or "sigmoid" for multi-label networks. A single score always goes through a sigmoid: the
            softmax of one score is constant. "probability": the network's scores are probabilities already.

    Raises:
        TargetError: if there is no such scale.

    Its gradient is p (1 - p) at the class's own logit, so it almost vanishes where the network is certain; maps are scaled to [0, 1],
    and stay meaningful until p is 0 or 1 to the last digit.

    Example:
        >>> import torch
        >>> from camtool.targets import ClassProbability
        >>> logits = torch.tensor([0.0, 0.0])
        >>> ClassProbability(1)(logits), ClassProbability(1, scale="sigmoid")(logits)
        (tensor(0.5000), tensor(0.5000))
    """

    name = "probability"

    def __init__(self, index: SupportsIndex, *, scale: str = "softmax") -> None:
        super().__init__(index)
        if scale not in SCALES:
            raise TargetError(f"Unknown scale {scale!r} of probabilities; expected one of: {', '.join(SCALES)}.")
        self.scale = scale

    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the class's probability."""
        if self.scale == "probability":
            return logits[self.index]
        if self.scale == "sigmoid" or len(logits) == 1:
            return logits[self.index].sigmoid()
        return logits.softmax(dim=0)[self.index]
