"""The score of one of the two classes of a network with a single output."""

from collections.abc import Callable
from typing import SupportsIndex

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets._base import ClassTarget
from camtool.targets.output import Output, described


@TARGETS.register_module()
class BinaryScore(ClassTarget):
    """The score of one of the two classes of a single logit: the logit of class 1, the positive, its negative of class 0.

    Raises:
        TargetError: if the index is neither 0 nor 1; when used, if the output is not (n, 1).

    Example:
        >>> import torch
        >>> from camtool.targets import BinaryScore
        >>> logits = torch.tensor([2.0])
        >>> BinaryScore(1)(logits), BinaryScore(0)(logits)
        (tensor(2.), tensor(-2.))
    """

    name = "binary"

    def __init__(self, index: SupportsIndex) -> None:
        super().__init__(index)
        if self.index not in (0, 1):
            raise TargetError(f"Expected a binary target of 1, the positive class, or 0, the negative one, got {self.index}.")

    def __call__(self, logits: Float[Tensor, " one"]) -> Float[Tensor, ""]:
        """Return the logit of class 1, its negative for class 0."""
        return logits[0] if self.index == 1 else -logits[0]

    def fitted(self, output: Output, sample: int) -> "BinaryScore":
        """Return the target; TargetError if the output is not (n, 1)."""
        if tuple(output.shape[1:]) != (1,):
            raise TargetError(f"A binary target needs a network with one output, (n, 1); this one gives {described(output)}. Try 'logit'.")
        return self

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return the name of the class."""
        return name_of(self.index)
