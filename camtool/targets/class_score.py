"""The score of one class, the default target of class activation maps."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from camtool.registry import TARGETS
from camtool.targets._base import ClassTarget


@TARGETS.register_module()
class ClassScore(ClassTarget):
    """The score before softmax (logit) of one class; its index is 0 to classes - 1.

    Example:
        >>> import torch
        >>> from camtool.targets import ClassScore
        >>> ClassScore(1)(torch.tensor([0.5, 2.0, -1.0]))
        tensor(2.)
    """

    name = "logit"

    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the class's logit."""
        return logits[self.index]

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return the name of the class."""
        return name_of(self.index)
