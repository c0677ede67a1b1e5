"""What a target is: a scalar of one sample's output. Those of a class have its index."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, SupportsIndex, TypeAlias

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.targets.output import Output, described

Target: TypeAlias = Callable[[Any], Float[Tensor, ""]]
"""Anything that turns one sample's output into a scalar with a gradient.

It may have `fitted(output, sample)`: called once, with the output of the whole batch and the number of its sample, it returns the
target for this and every further pass (aug-smooth), or raises TargetError if the output has no such thing. One with a place in the
picture has `flipped(width)`: the target for the picture mirrored along its last axis.
"""


class ClassTarget(ABC):
    """A scalar of one class. Results show it by its index."""

    name: ClassVar[str]
    """As `--target` takes it."""

    def __init__(self, index: SupportsIndex) -> None:
        self.index = operator.index(index)

    @abstractmethod
    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the scalar of one sample's scores."""

    def fitted(self, output: Output, sample: int) -> "ClassTarget":
        """Return the target as it stays for every pass; TargetError if the output has no such class."""
        check_class(self.index, output)
        return self

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return what the map explains, in words, from the words for a class."""
        return f"{self.name} of {name_of(self.index)}"

    def __repr__(self) -> str:
        settings = [str(self.index), *(f"{key}={value!r}" for key, value in vars(self).items() if key != "index")]
        return f"{type(self).__name__}({', '.join(settings)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


def check_class(index: int, output: Output) -> None:
    """Raise TargetError unless the output is (n, classes) and has class `index`."""
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise TargetError(
            f"Class {index} of an output {described(output)}: a class index needs (n, classes); "
            "give a callable that turns one sample's output into a number."
        )
    classes = output.shape[1]
    if not 0 <= index < classes:
        raise TargetError(f"Class index {index} is out of range: the network has {classes} classes, 0 to {classes - 1}.")
