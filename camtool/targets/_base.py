"""Targets: scalars of one sample's output, and the base class of those of one class."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, SupportsIndex, TypeAlias

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.targets.output import Output, described

Target: TypeAlias = Callable[[Any], Float[Tensor, ""]]
"""A callable from one sample's output to a differentiable scalar.

Optional methods: `fitted(output, sample)` is called once with the output of the whole batch and the sample's number, and returns the
target for this and all further passes (aug-smooth) or raises TargetError where the output does not have it; `flipped(width)`, of targets
with a position in the picture, returns the target for the picture mirrored along its last axis.
"""


class ClassTarget(ABC):
    """Base class of scalars of one class; results list them by the class's index.

    Example:
        >>> import torch
        >>> from camtool.targets import ClassTarget
        >>> class SquaredScore(ClassTarget):
        ...     name = "squared"
        ...     def __call__(self, logits):
        ...         return logits[self.index] ** 2
        >>> SquaredScore(1)(torch.tensor([1.0, 3.0]))
        tensor(9.)
        >>> SquaredScore(1).describe(["cat", "dog"].__getitem__)
        'squared of dog'
    """

    name: ClassVar[str]
    """The value of `--target`."""

    def __init__(self, index: SupportsIndex) -> None:
        self.index = class_index(index)

    @abstractmethod
    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the scalar of one sample's scores (classes)."""

    def fitted(self, output: Output, sample: int) -> "ClassTarget":
        """Return the target for this and all further passes; TargetError if the output has no such class."""
        check_class(self.index, output)
        return self

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return what the map explains, in words; `name_of(index)` names a class."""
        return f"{self.name} of {name_of(self.index)}"

    def __repr__(self) -> str:
        settings = [str(self.index), *(f"{key}={value!r}" for key, value in vars(self).items() if key != "index")]
        return f"{type(self).__name__}({', '.join(settings)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


def class_index(value: SupportsIndex) -> int:
    """Return the value as a class index; TargetError for a truth value, which Python takes for 0 or 1, TypeError for no whole number."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool"):
        raise TargetError(f"Expected a class index, got {value!r}; give the number of the class, or its name where names are known.")
    return operator.index(value)


def check_class(index: int, output: Output) -> None:
    """Raise TargetError unless the output is (n, classes) and has class `index`."""
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise TargetError(
            f"Class {index} of an output {described(output)}: a class index needs (n, classes). "
            "For other outputs give a callable that turns one sample's output into a scalar."
        )
    classes = output.shape[1]
    if not 0 <= index < classes:
        raise TargetError(f"Class index {index} is out of range: the network has {classes} classes, 0 to {classes - 1}.")
