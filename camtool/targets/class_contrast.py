"""The difference of the scores of two classes."""

from collections.abc import Callable
from typing import SupportsIndex

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets._base import ClassTarget, check_class, class_index
from camtool.targets.output import Output


@TARGETS.register_module()
class ClassContrast(ClassTarget):
    """The logit of class `index` minus that of class `against`; evidence for both cancels out.

    Finer-CAM (arXiv:2501.11309) with one reference class and a strength of 1.

    Raises:
        TargetError: if both are the same class, or (when used) one does not exist.

    Example:
        >>> import torch
        >>> from camtool.targets import ClassContrast
        >>> ClassContrast(0, against=2)(torch.tensor([3.0, 1.0, 2.0]))
        tensor(1.)
    """

    name = "contrast"

    def __init__(self, index: SupportsIndex, against: SupportsIndex) -> None:
        super().__init__(index)
        self.against = class_index(against)
        if self.against == self.index:
            raise TargetError(f"Expected two classes to contrast, got class {self.index} twice.")

    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the difference of the logits."""
        return logits[self.index] - logits[self.against]

    def fitted(self, output: Output, sample: int) -> "ClassContrast":
        """Return the target; TargetError if one of the classes does not exist."""
        check_class(self.against, output)
        super().fitted(output, sample)
        return self

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return the names of both classes."""
        return f"{name_of(self.index)} against {name_of(self.against)}"
