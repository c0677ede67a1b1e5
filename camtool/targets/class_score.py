"""The score of one class, what class activation maps explain unless asked otherwise."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from camtool.registry import TARGETS
from camtool.targets._base import ClassTarget


@TARGETS.register_module()
class ClassScore(ClassTarget):
    """The score before softmax (logit) of one class. Range of the index: 0 to classes - 1."""

    name = "logit"

    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the class's logit."""
        return logits[self.index]

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return the words for the class alone."""
        return name_of(self.index)
