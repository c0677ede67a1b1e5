"""The score of either class of a network with one output."""

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
    """The score of one of the two classes that a single logit decides between: 1, the positive, has the logit, 0 its negative.

    Raises:
        TargetError: if the index is neither 0 nor 1; when it is used, if the output is not (n, 1).
    """

    name = "binary"

    def __init__(self, index: SupportsIndex) -> None:
        super().__init__(index)
        if self.index not in (0, 1):
            raise TargetError(f"A binary target is 1, the positive class, or 0, the negative one, got {self.index}.")

    def __call__(self, logits: Float[Tensor, " one"]) -> Float[Tensor, ""]:
        """Return the logit, or its negative."""
        return logits[0] if self.index == 1 else -logits[0]

    def fitted(self, output: Output, sample: int) -> "BinaryScore":
        """Return the target; TargetError if the network has not one output."""
        if tuple(output.shape[1:]) != (1,):
            raise TargetError(f"A binary target needs a network with one output, (n, 1); this one gives {described(output)}.")
        return self

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return the words for the class alone."""
        return name_of(self.index)
