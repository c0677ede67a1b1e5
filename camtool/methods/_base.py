"""Base classes of methods, and the evidence they map: a layer's activations, their gradients, further queries of the network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import first_component
from camtool.fusion import Fusion
from camtool.placement import Placement
from camtool.targets import Target
from camtool.types import Maps, RawMap, Weights

Copies: TypeAlias = Callable[[int, int], Float[Tensor, "n copies channels *size"]]
"""`copies(start, stop)` returns this range of a sequence of altered copies of every sample."""

LAYERS, ATTENTION, INPUT = "layers", "attention", "input"
"""Values of `BaseMethod.reads`: target layers, the attention of all layers, or gradients at the input."""


@runtime_checkable
class InputQueries(Protocol):
    """Queries of the network about other inputs; scores are those of the explained target.

    Methods have no access to the network itself. The engine decides how many copies are run at once; results do not depend on it.
    """

    inputs: Float[Tensor, "n channels *size"]
    """The preprocessed picture, the network's input."""
    scores: Float[Tensor, " n"]
    """Scores of the unaltered inputs."""

    def scores_of_inputs(self, count: int, copies: Copies) -> Float[Tensor, "n count"]:
        """Return the scores of `count` copies of the inputs."""

    def score_and_gradients(self, inputs: Float[Tensor, "n channels *size"]) -> tuple[Float[Tensor, " n"], Tensor]:
        """Return the scores of other inputs, and the gradients of the scores with respect to these inputs."""

    def scores_as(self, change: Callable[[Target], Target]) -> Float[Tensor, " n"]:
        """Return the scores of the unaltered inputs for other targets: those that `change` returns for the explained ones."""

    def report(self, done: int, total: int) -> None:
        """Report the progress of a method that queries step by step; queries of many copies report it themselves."""


@runtime_checkable
class ModelQueries(InputQueries, Protocol):
    """Queries of the network at one layer, beside those about other inputs."""

    def scores_of_activations(self, count: int, copies: Copies) -> Float[Tensor, "n count"]:
        """Return the scores of `count` copies of the layer's activations (n, c, *spatial); only the network's tail is run."""

    def contributions_from_zero(self) -> Maps:
        """Return each activation's contribution to the score minus that of zero activations, by DeepLIFT's rescale rule; (n, c, *spatial).

        Raises:
            MethodError: if the contributions do not sum to this difference.
        """

    def evidence_of(self, inputs: Sequence[Float[Tensor, "n channels *size"]], *, gradients: bool = True) -> "list[Evidence]":
        """Return the evidence of other inputs at the same layer, with or without gradients."""


@dataclass(frozen=True)
class Evidence:
    """Results of one forward (and backward) pass at one layer for one target, in float32 or wider.

    Example:
        >>> import torch
        >>> from camtool.methods import Evidence, GradCAM
        >>> activations = torch.tensor([[[[1.0, 2.0], [0.0, 4.0]]]])
        >>> evidence = Evidence(activations, torch.full_like(activations, 0.5), class_weights=lambda: torch.ones(1, 1))
        >>> GradCAM().raw_map(evidence)
        tensor([[[0.5000, 1.0000],
                 [0.0000, 2.0000]]])
    """

    activations: Maps
    gradients: Maps | None
    """Gradients of the target's score with respect to the activations; None unless the method needs them."""
    class_weights: Callable[..., Float[Tensor, "n c"]]
    """Returns the final linear layer's weights for the target; MethodError if the head is not global average pooling + linear. With the
    path of a linear layer as argument, that layer's."""
    curvature: Maps | None = None
    """The score's Hessian with respect to the activations, times the activations; None unless the method needs it."""
    model_queries: ModelQueries | None = None
    """Further queries of the network, where they are possible."""
    placement: Placement | None = None
    """Where the activations' cells lie on the input; None: evenly."""
    classes: Sequence[int | None] | None = None
    """Of each sample the index of the class that is explained, None where the target is no class; None: not known, as in further passes."""

    def queries(self, method: str) -> ModelQueries:
        """Return the queries of the network; MethodError if there are none."""
        if self.model_queries is None:
            raise MethodError(f"Method '{method}' needs further passes of the network, which are not available here; try 'gradcam'.")
        return self.model_queries


@dataclass(frozen=True)
class Needs:
    """What a method needs of the network beyond the activations of one forward pass.

    Example:
        >>> from camtool.methods import Needs, build_method
        >>> build_method("gradcam").needs == Needs(gradients=True)
        True
        >>> build_method("ablationcam").needs.replay
        True
    """

    gradients: bool = False
    """Gradients of the target's score with respect to what the method reads, from the pass that all methods of a call share."""
    curvature: bool = False
    """The score's Hessian with respect to the activations, times the activations."""
    further_gradients: bool = False
    """Gradients of further passes, of other inputs."""
    replay: bool = False
    """Scores of other activations of the target layer."""
    tokens: bool = False
    """A target layer of tokens."""
    layer_gradients: bool = False
    """Gradients of the score of each attention layer's own tokens."""
    bias_gradients: bool = False
    """Gradients at the biases of all layers."""
    input_gradients: bool = False
    """Gradients at the input, from the shared pass."""
    guided_gradients: bool = False
    """Gradients through guided ReLUs."""
    same_queries_for_all_targets: bool = False
    """Whether the queried copies do not depend on the target, so that one run of the network serves all targets."""


class BaseMethod:
    """Base class of all methods. Hyper-parameters are keyword-only arguments of `__init__`, so they are config keys.

    A method of target layers overrides `contributions` if its map is a sum over channels, else `raw_map`. Subclasses of
    `GradientMethod` and `ActivationMethod` define only `weights`.

    Example:
        >>> import torch
        >>> from camtool.methods import BaseMethod, Evidence
        >>> class Strongest(BaseMethod):
        ...     name, paper = "strongest", "none"
        ...     def raw_map(self, evidence):
        ...         return evidence.activations.amax(dim=1)
        >>> Strongest().raw_map(Evidence(torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]]), None, lambda: None))
        tensor([[1., 2.],
                [3., 0.]])
    """

    name: str
    """The command-line name; of a wrapper with that of the wrapped method: "smooth:layercam"."""
    paper: ClassVar[str]
    cost: ClassVar[str] = "at least 1 forward"
    """Cost of one map in words: forward passes of the whole network, and of its tail, the part behind the target layer."""
    needs: Needs = Needs()
    reads: ClassVar[str] = LAYERS
    """What the map is computed from: LAYERS, ATTENTION or INPUT."""
    class_discriminative: bool = True
    covers_input: bool = False
    """Whether raw maps have the input's size, whatever the grid of the target layer."""
    fusion: Fusion | None = None
    """The method's own fusion of the maps of several layers; None: that of the call."""

    def target(self, target: Target) -> Target:
        """Return the target that the method explains instead of `target`; TargetError if it cannot explain `target`."""
        return target

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        """Return about how many passes of the network, or of its tail, a map takes besides the one that all methods share.

        Args:
            channels: of the target layer; 0 without one.
            cells: positions of the target layer.
            size: of the input, by spatial axis.
        """
        return 0

    def raw_map(self, evidence: Any) -> RawMap:
        """Return the raw map (n, *spatial), signed."""
        return self.collapse(self.contributions(evidence))

    def eigen_smooth_map(self, evidence: Any) -> RawMap:
        """Return the raw map with eigen-smooth; MethodError if the map is not a sum over channels."""
        return self.collapse_smoothly(self.contributions(evidence))

    def contributions(self, evidence: Any) -> Maps:
        """Return each channel's contribution at each position, (n, c, *spatial), signed."""
        raise MethodError(
            f"Eigen-smooth is a principal component over channels, and '{self.name}' is not a sum over channels. Leave it out, or use a "
            "method that is, such as 'gradcam'."
        )

    def collapse(self, contributions: Maps) -> RawMap:
        """Return the raw map (n, *spatial), signed: the sum over channels unless overridden."""
        return contributions.sum(dim=1)

    def collapse_smoothly(self, contributions: Maps) -> RawMap:
        """Return the raw map with eigen-smooth: the first principal component over channels instead of their sum."""
        return first_component(contributions)


class GradientMethod(BaseMethod, ABC):
    """Base class of methods that weight activations by a function of their gradients.

    Example:
        >>> import torch
        >>> from camtool.methods import GradientMethod
        >>> class SignCAM(GradientMethod):
        ...     name, paper = "signcam", "none"
        ...     def weights(self, activations, gradients):
        ...         return gradients.sign()
        >>> SignCAM().weights(torch.ones(1, 1, 2), torch.tensor([[[0.5, -3.0]]]))
        tensor([[[ 1., -1.]]])
    """

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
    """Base class of methods that weight activations by a function of themselves: one forward pass, the same map for every class.

    Example:
        >>> import torch
        >>> from camtool.functional import spatial_mean
        >>> from camtool.methods import ActivationMethod
        >>> class MeanCAM(ActivationMethod):
        ...     name, paper = "meancam", "none"
        ...     def weights(self, activations):
        ...         return spatial_mean(activations)
        >>> MeanCAM().weights(torch.tensor([[[1.0, 3.0], [0.0, 4.0]]])).flatten()
        tensor([2., 2.])
    """

    cost = "1 forward"
    class_discriminative = False

    def contributions(self, evidence: Evidence) -> Maps:
        return self.weights(evidence.activations) * evidence.activations

    @abstractmethod
    def weights(self, activations: Maps) -> Weights:
        """Return channel weights (n or 1, c, 1, ...) or position weights (n, c, *spatial)."""


def sums_channels(method: BaseMethod) -> bool:
    """Return whether a method's map is the sum over channels of its contributions.

    Example:
        >>> from camtool.methods import build_method
        >>> sums_channels(build_method("gradcam")), sums_channels(build_method("reciprocam"))
        (True, False)
    """
    kind, base = type(method), BaseMethod
    return kind.contributions is not base.contributions and kind.raw_map is base.raw_map and kind.collapse is base.collapse
