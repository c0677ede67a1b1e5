"""Base class of input methods: maps from the gradient of the score at the input itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.methods._base import INPUT, BaseMethod, Needs
from camtool.placement import Placement
from camtool.types import Maps, RawMap


@dataclass(frozen=True)
class InputEvidence:
    """Results of one forward (and backward) pass at the input for one target, in float32 or wider.

    Example:
        >>> import torch
        >>> from camtool.methods import GuidedBackprop, InputEvidence
        >>> evidence = InputEvidence(torch.ones(1, 3, 2), guided=torch.tensor([[[0.0, 1.0], [-2.0, 0.5], [1.0, 0.0]]]))
        >>> GuidedBackprop().raw_map(evidence)
        tensor([[2., 1.]])
    """

    inputs: Maps
    gradients: Maps | None = None
    """Gradients of the target's score with respect to the inputs; None unless the method needs the bias terms."""
    bias_terms: Sequence[Float[Tensor, "n _ ..."]] = ()
    """Bias times gradient of every biased layer with positions, at the layer's own grid; empty unless the method needs them."""
    guided: Maps | None = None
    """The gradient through guided ReLUs; None unless the method needs it."""
    map: RawMap | None = None
    """The base method's final map, of the input's size, in [0, 1]; None without a base method."""
    bias_placements: Sequence[Placement | None] = ()
    """Where the cells of each of `bias_terms` lie on the input; None, or left out: evenly."""


class InputMethod(BaseMethod, ABC):
    """Base class of methods that use gradients at the input. They have no target layer, unless their base method has.

    Example:
        >>> import torch
        >>> from camtool.methods import InputEvidence, InputMethod
        >>> class Saliency(InputMethod):
        ...     name, paper = "saliency", "arXiv:1312.6034"
        ...     def raw_map(self, evidence):
        ...         return evidence.gradients.abs().amax(dim=1)
        >>> Saliency().raw_map(InputEvidence(torch.ones(1, 2, 2), torch.tensor([[[0.0, 1.0], [-2.0, 0.5]]])))
        tensor([[2., 1.]])
    """

    cost = "1 forward + 1 backward"
    needs = Needs(gradients=True)
    reads = INPUT
    base: ClassVar[str] = ""
    """The method of target layers whose final map this method uses; "" for none."""

    @abstractmethod
    def raw_map(self, evidence: InputEvidence) -> RawMap:
        """Return the raw map (n, *spatial), of the input's size."""

    def attributions(self, evidence: InputEvidence) -> Maps | None:
        """Return the attributions of every input channel (n, c, *spatial), signed; None if the method has none."""
        return None

    def guided(self, evidence: InputEvidence) -> Maps:
        """Return the guided gradient of the evidence; MethodError if it has none."""
        if evidence.guided is None:
            raise MethodError(f"Method '{self.name}' needs guided gradients; declare needs = Needs(guided_gradients=True).")
        return evidence.guided
