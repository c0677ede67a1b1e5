"""What a method is, and what one of a target layer is given: activations, their gradients, and an queries of the network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import first_component
from camtool.fusion import Fusion
from camtool.targets import Target
from camtool.types import Maps, RawMap, Weights

Copies: TypeAlias = Callable[[int, int], Float[Tensor, "n copies channels *size"]]
"""`copies(start, stop)` returns that range of a sequence of altered copies of every sample."""


@runtime_checkable
class ModelQueries(Protocol):
    """What a method may ask of the network beyond one forward pass: always the score of the target that is explained.

    A method never sees the network. How many copies go through it at once is not the method's to decide: results do not depend on it.
    """

    inputs: Float[Tensor, "n channels *size"]
    """The picture, as the network gets it."""
    scores: Float[Tensor, " n"]
    """Of the inputs as they are."""

    def scores_of_activations(self, count: int, copies: Copies) -> Float[Tensor, "n count"]:
        """Return the scores of `count` copies of the layer's activations (n, c, *spatial); only what lies downstream is run."""

    def scores_of_inputs(self, count: int, copies: Copies) -> Float[Tensor, "n count"]:
        """Return the scores of `count` copies of the inputs."""

    def score_and_gradients(self, inputs: Float[Tensor, "n channels *size"]) -> tuple[Float[Tensor, " n"], Tensor]:
        """Return the scores of other inputs, and the scores' gradients with respect to these inputs."""

    def contributions_from_zero(self) -> Maps:
        """Return what each activation contributes to the score less that of zero activations: DeepLIFT, rescale rule; (n, c, *spatial).

        Raises:
            MethodError: where the contributions do not sum to that.
        """

    def evidence_of(self, inputs: Sequence[Float[Tensor, "n channels *size"]], *, gradients: bool = True) -> "list[Evidence]":
        """Return the evidence of other inputs at the same layer, with or without gradients."""

    def report(self, done: int, total: int) -> None:
        """Say how far a method is that asks step by step; questions of many copies say so themselves."""


@dataclass(frozen=True)
class Evidence:
    """What one forward pass (and its backward) of one target tells about one layer, in float32 or wider."""

    activations: Maps
    gradients: Maps | None
    """Of the target's scalar with respect to the activations; None unless the method asked for them."""
    class_weights: Callable[[], Float[Tensor, "n c"]]
    """The final linear layer's weights for the target; raises MethodError where the head is not global average pooling + linear."""
    curvature: Maps | None = None
    """The scalar's Hessian in the activations times the activations; None unless the method asked for it."""
    model_queries: ModelQueries | None = None
    """For methods that ask more of the network."""

    def queries(self, method: str) -> ModelQueries:
        """Return the queries; MethodError if there is none."""
        if self.model_queries is None:
            raise MethodError(f"Method '{method}' asks the network again, which is not possible here.")
        return self.model_queries


class BaseMethod(ABC):
    """What every method says of itself. Hyper-parameters are keyword-only arguments of `__init__`, so they are config keys."""

    name: str
    """As typed on the command line; of an object around another method with that one's: "smooth:layercam"."""
    paper: ClassVar[str]
    cost: ClassVar[str] = "at least 1 forward"
    """In words, of one map: forward passes of the whole network, and of its tail, which is what lies behind the target layer."""
    needs_gradients: bool = False
    """Of the pass that all methods share."""
    asks_gradients: bool = False
    """Whether it asks for gradients of further passes."""
    class_discriminative: bool = True


class Method(BaseMethod):
    """Base of methods that read the activations of a target layer."""

    needs_tokens: bool = False
    """Whether the method is defined for layers of tokens only."""
    needs_curvature: bool = False
    replays: bool = False
    """Whether it asks for scores of other activations."""
    asks_alike: bool = False
    """Whether the copies it asks for are the same for every target, so that one run of the network serves them all."""

    def target(self, target: Target) -> Target:
        """Return what the method explains where `target` is asked for; TargetError where it cannot."""
        return target

    fusion: Fusion | None = None
    """How the method's maps of several layers are fused, whatever else is asked for."""

    @abstractmethod
    def raw_map(self, evidence: Evidence) -> RawMap:
        """Return the raw map (n, *spatial), signed."""

    def eigen_smooth_map(self, evidence: Evidence) -> RawMap:
        """Return the raw map with eigen-smooth; MethodError where the method is no sum over channels."""
        raise MethodError(
            f"Eigen-smooth is a principal component over channels; '{self.name}' is no sum over channels. Leave it out, or use a method "
            "that is, such as 'gradcam'."
        )


class ChannelMethod(Method):
    """Base of methods that sum, over channels, what each contributes at each position."""

    @abstractmethod
    def contributions(self, evidence: Evidence) -> Maps:
        """Return what each channel contributes at each position, (n, c, *spatial), signed."""

    def raw_map(self, evidence: Evidence) -> RawMap:
        return self.collapse(self.contributions(evidence))

    def eigen_smooth_map(self, evidence: Evidence) -> RawMap:
        return self.collapse_smoothly(self.contributions(evidence))

    def collapse(self, contributions: Maps) -> RawMap:
        """Return the raw map (n, *spatial), signed: the sum over channels unless the method says otherwise."""
        return contributions.sum(dim=1)

    def collapse_smoothly(self, contributions: Maps) -> RawMap:
        """Return the raw map with eigen-smooth: the first principal component over channels instead of their sum."""
        return first_component(contributions)


class GradientMethod(ChannelMethod):
    """Weights activations with something made of their gradients."""

    cost = "1 forward + tail backward"
    needs_gradients = True

    def contributions(self, evidence: Evidence) -> Maps:
        if evidence.gradients is None:
            raise MethodError(f"Method '{self.name}' needs gradients.")
        return self.weights(evidence.activations, evidence.gradients) * evidence.activations

    @abstractmethod
    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        """Return channel weights (n, c, 1, ...) or position weights (n, c, *spatial)."""


class ActivationMethod(ChannelMethod):
    """Weights activations by themselves: one forward pass, no class."""

    cost = "1 forward"
    class_discriminative = False

    def contributions(self, evidence: Evidence) -> Maps:
        return self.weights(evidence.activations) * evidence.activations

    @abstractmethod
    def weights(self, activations: Maps) -> Weights:
        """Return channel weights (n or 1, c, 1, ...) or position weights (n, c, *spatial)."""
