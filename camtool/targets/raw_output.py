"""One output of a regression network."""

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
    """One output of a regression network, (n, outputs) or (n,), by index; without index its only one. Maps show what raises it.

    Raises:
        TargetError: when used, if there is no such output, or several and no index.

    Example:
        >>> import torch
        >>> from camtool.targets import RawOutput
        >>> RawOutput()(torch.tensor([36.5])), RawOutput(1)(torch.tensor([36.5, 120.0]))
        (tensor(36.5000), tensor(120.))
    """

    name = "raw"

    def __init__(self, index: SupportsIndex | None = None) -> None:
        super().__init__(0 if index is None else index)
        self._is_only = index is None

    def __call__(self, output: Float[Tensor, " outputs"]) -> Float[Tensor, ""]:
        """Return the output."""
        return output[self.index]

    def fitted(self, output: Output, sample: int) -> "RawOutput":
        """Return the target; TargetError if the output is not (n, outputs), or has several outputs and there is no index."""
        check_class(self.index, output)
        numbers = output.shape[-1]
        if self._is_only and numbers != 1:
            raise TargetError(f"The network gives {numbers} numbers; choose one: RawOutput(0) to RawOutput({numbers - 1}).")
        return self

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return the name of the output, "output 3" if it has none."""
        named = name_of(self.index)
        return f"output {self.index}" if named == f"class {self.index}" else named

    def __repr__(self) -> str:
        return "RawOutput()" if self._is_only else f"RawOutput({self.index})"
