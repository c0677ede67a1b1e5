"""Why one class and not another: the difference of their scores."""

import operator
from collections.abc import Callable
from typing import SupportsIndex

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets._base import ClassTarget, check_class
from camtool.targets.output import Output


@TARGETS.register_module()
class ClassContrast(ClassTarget):
    """The logit of class `index` minus that of class `against`: what speaks for both cancels out.

    It is Finer-CAM (arXiv:2501.11309) with one reference class and a strength of 1.

    Raises:
        TargetError: if both are the same class, or (when it is used) one does not exist.
    """

    name = "contrast"

    def __init__(self, index: SupportsIndex, against: SupportsIndex) -> None:
        super().__init__(index)
        self.against = operator.index(against)
        if self.against == self.index:
            raise TargetError(f"A contrast needs two classes; class {self.index} is to be set against itself.")

    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the difference of the logits."""
        return logits[self.index] - logits[self.against]

    def fitted(self, output: Output, sample: int) -> "ClassContrast":
        """Return the target; TargetError if one of the classes does not exist."""
        check_class(self.against, output)
        super().fitted(output, sample)
        return self

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return both classes in words."""
        return f"{name_of(self.index)} against {name_of(self.against)}"
