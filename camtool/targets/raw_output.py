"""A number that the network gives, as it is: regression."""

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
class RawOutput(ClassTarget):
    """One output of a regression network, (n, outputs) or (n,); no index: its only one. The map shows what raises the number.

    Raises:
        TargetError: when it is used, if there is no such output, or several and no index.
    """

    name = "raw"

    def __init__(self, index: SupportsIndex | None = None) -> None:
        super().__init__(0 if index is None else index)
        self._is_only = index is None

    def __call__(self, output: Float[Tensor, " outputs"]) -> Float[Tensor, ""]:
        """Return the number."""
        return output[self.index]

    def fitted(self, output: Output, sample: int) -> "RawOutput":
        """Return the target; TargetError if the output is not (n, outputs), or which of several is meant is open."""
        check_class(self.index, output)
        numbers = output.shape[-1]
        if self._is_only and numbers != 1:
            raise TargetError(f"The network gives {numbers} numbers; say which: RawOutput(0) to RawOutput({numbers - 1}).")
        return self

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return the words for the output, a name if it has one."""
        named = name_of(self.index)
        return f"output {self.index}" if named == f"class {self.index}" else named

    def __repr__(self) -> str:
        return "RawOutput()" if self._is_only else f"RawOutput({operator.index(self.index)})"
