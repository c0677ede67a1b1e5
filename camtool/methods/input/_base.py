"""Base class of input methods: maps of the input itself, from the gradient of the score there, or from other inputs' scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.methods._base import INPUT, BaseMethod, InputQueries, Needs
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
    """Gradients of the target's score with respect to the inputs; None unless the method needs them, or the bias terms."""
    bias_terms: Sequence[Float[Tensor, "n _ ..."]] = ()
    """Bias times gradient of every biased layer with positions, at the layer's own grid; empty unless the method needs them."""
    guided: Maps | None = None
    """The gradient through guided ReLUs; None unless the method needs it."""
    map: RawMap | None = None
    """The base method's map, of the input's size: its positive part over its maximum, in [0, 1]; None without a base method."""
    bias_placements: Sequence[Placement | None] = ()
    """Where the cells of each of `bias_terms` lie on the input; None, or left out: evenly."""
    model_queries: InputQueries | None = None
    """Further queries of the network, where they are possible."""

    def queries(self, method: str) -> InputQueries:
        """Return the queries of the network; MethodError if there are none."""
        if self.model_queries is None:
            raise MethodError(f"Method '{method}' needs further passes of the network, which are not available here; try 'saliency'.")
        return self.model_queries


class InputMethod(BaseMethod):
    """Base class of methods that explain by the input itself. They have no target layer, unless their base method has.

    Example:
        >>> import torch
        >>> from camtool.methods import InputEvidence, InputMethod, Needs
        >>> class Saliency(InputMethod):
        ...     name, paper = "saliency", "arXiv:1312.6034"
        ...     needs = Needs(gradients=True, input_gradients=True)
        ...     def raw_map(self, evidence):
        ...         return evidence.gradients.abs().amax(dim=1)
        >>> Saliency().raw_map(InputEvidence(torch.ones(1, 2, 2), torch.tensor([[[0.0, 1.0], [-2.0, 0.5]]])))
        tensor([[2., 1.]])
    """

    cost = "1 forward + 1 backward"
    needs = Needs(gradients=True)
    reads = INPUT
    base: ClassVar[str] = ""
    """The method of target layers whose map this method uses; "" for none."""

    def gradients(self, evidence: InputEvidence) -> Maps:
        """Return the gradient at the input of the evidence; MethodError if it has none."""
        if evidence.gradients is None:
            raise MethodError(f"Method '{self.name}' needs the gradients of the score at the input, which the evidence does not have.")
        return evidence.gradients

    def raw_map(self, evidence: InputEvidence) -> RawMap:
        """Return the raw map (n, *spatial), of the input's size: unless overridden, of the attributions of every channel."""
        attributions = self.attributions(evidence)
        if attributions is None:
            raise MethodError(f"Expected method '{self.name}' to define raw_map or attributions, got neither.")
        return self.reduced(attributions)

    def reduced(self, attributions: Maps) -> RawMap:
        """Return the raw map of attributions: their largest absolute value over channels unless overridden."""
        return attributions.abs().amax(dim=1)

    def attributions(self, evidence: InputEvidence) -> Maps | None:
        """Return the attributions of every input channel (n, c, *spatial), signed; None if the method has none."""
        return None

    @property
    def smooths(self) -> bool:
        """Whether eigen-smooth is defined: the map is a sum over maps, which `contributions` returns."""
        return type(self).contributions is not BaseMethod.contributions

    def maps(self, evidence: InputEvidence, *, eigen_smooth: bool = False) -> tuple[RawMap, Maps | None]:
        """Return the raw map and the attributions; with eigen-smooth, MethodError if that is not defined."""
        if eigen_smooth:
            return self.eigen_smooth_map(evidence), self.attributions(evidence)
        attributions = self.attributions(evidence)  # once: it may take many passes
        if attributions is not None and type(self).raw_map is InputMethod.raw_map:
            return self.reduced(attributions), attributions
        return self.raw_map(evidence), attributions

    def guided(self, evidence: InputEvidence) -> Maps:
        """Return the guided gradient of the evidence; MethodError if it has none."""
        if evidence.guided is None:
            raise MethodError(f"Method '{self.name}' needs guided gradients; declare needs = Needs(guided_gradients=True).")
        return evidence.guided


def attributes_channels(method: BaseMethod) -> bool:
    """Return whether a method has attributions of every channel of the input.

    Example:
        >>> from camtool.methods import build_method
        >>> attributes_channels(build_method("saliency")), attributes_channels(build_method("occlusion"))
        (True, False)
    """
    return isinstance(method, InputMethod) and type(method).attributions is not InputMethod.attributions
