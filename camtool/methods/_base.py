"""What a method is, and one of a target layer: contributions of every channel at every position, and how they collapse to one map."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import first_component
from camtool.types import Maps, RawMap, Weights


@dataclass(frozen=True)
class Evidence:
    """What one forward pass (and its backward) of one target tells about one layer, in float32 or wider."""

    activations: Maps
    gradients: Maps | None
    """Of the target's scalar with respect to the activations; None unless the method asked for them."""
    class_weights: Callable[[], Float[Tensor, "n c"]]
    """The final linear layer's weights for the target; raises MethodError where the head is not global average pooling + linear."""


class BaseMethod(ABC):
    """What every method says of itself. Hyper-parameters are keyword-only arguments of `__init__`, so they are config keys."""

    name: ClassVar[str]
    """As typed on the command line."""
    paper: ClassVar[str]
    needs_gradients: ClassVar[bool] = False
    class_discriminative: ClassVar[bool] = True


class Method(BaseMethod):
    """Base of methods that read the activations of a target layer."""

    needs_tokens: ClassVar[bool] = False
    """Whether the method is defined for layers of tokens only."""

    @abstractmethod
    def contributions(self, evidence: Evidence) -> Maps:
        """Return what each channel contributes at each position, (n, c, *spatial), signed."""

    def collapse(self, contributions: Maps) -> RawMap:
        """Return the raw map (n, *spatial), signed: the sum over channels unless the method says otherwise."""
        return contributions.sum(dim=1)

    def collapse_smoothly(self, contributions: Maps) -> RawMap:
        """Return the raw map with eigen-smooth: the first principal component over channels instead of their sum."""
        return first_component(contributions)


class GradientMethod(Method):
    """Weights activations with something made of their gradients."""

    needs_gradients = True

    def contributions(self, evidence: Evidence) -> Maps:
        if evidence.gradients is None:
            raise MethodError(f"Method '{self.name}' needs gradients.")
        return self.weights(evidence.activations, evidence.gradients) * evidence.activations

    @abstractmethod
    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        """Return channel weights (n, c, 1, ...) or position weights (n, c, *spatial)."""


class ActivationMethod(Method):
    """Weights activations by themselves: one forward pass, no class."""

    class_discriminative = False

    def contributions(self, evidence: Evidence) -> Maps:
        return self.weights(evidence.activations) * evidence.activations

    @abstractmethod
    def weights(self, activations: Maps) -> Weights:
        """Return channel weights (n or 1, c, 1, ...) or position weights (n, c, *spatial)."""
