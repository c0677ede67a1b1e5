"""What a method of the input is: a map made of the score's gradient at the input itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.methods._base import INPUT, BaseMethod, Needs
from camtool.types import Maps, RawMap


@dataclass(frozen=True)
class InputEvidence:
    """What one forward pass (and its backward) of one target tells at the input, in float32 or wider."""

    inputs: Maps
    gradients: Maps | None = None
    """Of the target's scalar with respect to the inputs; None unless the method asked for the bias terms."""
    bias_terms: Sequence[Float[Tensor, "n _ ..."]] = ()
    """Of every biased layer with positions: bias times gradient, at the layer's own grid; empty unless asked for."""
    guided: Maps | None = None
    """The gradient that guided ReLUs pass on; None unless asked for."""
    map: RawMap | None = None
    """The base method's final map, of the input's size and in [0, 1]; None without a base."""


class InputMethod(BaseMethod, ABC):
    """Base of methods that read gradients at the input. They have no target layer, unless a base method has."""

    cost = "1 forward + 1 backward"
    needs = Needs(gradients=True)
    reads = INPUT
    base: ClassVar[str] = ""
    """The method of a target layer whose final map this one reads; "" for none."""

    @abstractmethod
    def raw_map(self, evidence: InputEvidence) -> RawMap:
        """Return the raw map (n, *spatial), of the input's size."""

    def attributions(self, evidence: InputEvidence) -> Maps | None:
        """Return what the method says of every input channel (n, c, *spatial), signed; None where it says nothing so fine."""
        return None

    def guided(self, evidence: InputEvidence) -> Maps:
        """Return the guided gradient that was asked for; MethodError if it was not."""
        if evidence.guided is None:
            raise MethodError(f"Method '{self.name}' needs guided gradients.")
        return evidence.guided
