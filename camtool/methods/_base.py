"""What a method is, and what one of a target layer is given: activations, their gradients, and an queries of the network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import first_component
from camtool.fusion import Fusion
from camtool.targets import Target
from camtool.types import Maps, RawMap, Weights

Copies: TypeAlias = Callable[[int, int], Float[Tensor, "n copies channels *size"]]
"""`copies(start, stop)` returns that range of a sequence of altered copies of every sample."""


LAYERS, ATTENTION, INPUT = "layers", "attention", "input"
"""What methods read: target layers, the attention of all layers, or gradients at the input."""


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


@dataclass(frozen=True)
class Needs:
    """What a method needs of the network beyond the activations of one forward pass."""

    gradients: bool = False
    """Of the target's score, with respect to what the method reads; from the pass that all methods of a call share."""
    curvature: bool = False
    """The score's Hessian in the activations times the activations."""
    further_gradients: bool = False
    """Gradients of passes of its own, of other inputs."""
    replay: bool = False
    """Scores of other activations of the target layer."""
    tokens: bool = False
    """A target layer of tokens."""
    layer_gradients: bool = False
    """Gradients of the score that each attention layer's own tokens give."""
    bias_gradients: bool = False
    """Gradients at the biases of all layers."""
    guided_gradients: bool = False
    """Gradients that guided ReLUs pass on."""
    same_queries_for_all_targets: bool = False
    """Whether the copies that it queries scores of do not depend on the target, so that one run of the network serves all targets."""


class BaseMethod:
    """What every method says of itself. Hyper-parameters are keyword-only arguments of `__init__`, so they are config keys.

    A method of target layers overrides `contributions`, where its map is a sum over channels, or else `raw_map`;
    `GradientMethod` and `ActivationMethod` leave no more than `weights` to write.
    """

    name: str
    """As typed on the command line; of an object around another method with that one's: "smooth:layercam"."""
    paper: ClassVar[str]
    cost: ClassVar[str] = "at least 1 forward"
    """In words, of one map: forward passes of the whole network, and of its tail, which is what lies behind the target layer."""
    needs: Needs = Needs()
    reads: ClassVar[str] = LAYERS
    """What its map is made of: LAYERS, ATTENTION or INPUT."""
    class_discriminative: bool = True
    fusion: Fusion | None = None
    """How the method's maps of several layers are fused, whatever else is asked for."""

    def target(self, target: Target) -> Target:
        """Return what the method explains where `target` is asked for; TargetError where it cannot."""
        return target

    def raw_map(self, evidence: Any) -> RawMap:
        """Return the raw map (n, *spatial), signed."""
        return self.collapse(self.contributions(evidence))

    def eigen_smooth_map(self, evidence: Any) -> RawMap:
        """Return the raw map with eigen-smooth; MethodError where the method is not a sum over channels."""
        return self.collapse_smoothly(self.contributions(evidence))

    def contributions(self, evidence: Any) -> Maps:
        """Return what each channel contributes at each position, (n, c, *spatial), signed."""
        raise MethodError(
            f"Eigen-smooth is a principal component over channels, and '{self.name}' is not a sum over channels. Leave it out, or use a "
            "method that is, such as 'gradcam'."
        )

    def collapse(self, contributions: Maps) -> RawMap:
        """Return the raw map (n, *spatial), signed: the sum over channels unless the method says otherwise."""
        return contributions.sum(dim=1)

    def collapse_smoothly(self, contributions: Maps) -> RawMap:
        """Return the raw map with eigen-smooth: the first principal component over channels instead of their sum."""
        return first_component(contributions)


class GradientMethod(BaseMethod, ABC):
    """Weights activations with something made of their gradients."""

    cost = "1 forward + tail backward"
    needs = Needs(gradients=True)

    def contributions(self, evidence: Evidence) -> Maps:
        if evidence.gradients is None:
            raise MethodError(f"Method '{self.name}' needs gradients.")
        return self.weights(evidence.activations, evidence.gradients) * evidence.activations

    @abstractmethod
    def weights(self, activations: Maps, gradients: Maps) -> Weights:
        """Return channel weights (n, c, 1, ...) or position weights (n, c, *spatial)."""


class ActivationMethod(BaseMethod, ABC):
    """Weights activations by themselves: one forward pass, no class."""

    cost = "1 forward"
    class_discriminative = False

    def contributions(self, evidence: Evidence) -> Maps:
        return self.weights(evidence.activations) * evidence.activations

    @abstractmethod
    def weights(self, activations: Maps) -> Weights:
        """Return channel weights (n or 1, c, 1, ...) or position weights (n, c, *spatial)."""
