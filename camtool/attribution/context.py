"""CallContext: the settings that all forward passes of one CAM call share."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from camtool.errors import MethodError
from camtool.fusion import Fusion
from camtool.instrumentation.activations import Capture
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.copies import check_copies, first_beside_different
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_layouts import LayerLayouts
from camtool.layouts import Layout
from camtool.methods import AttentionMethod, BaseMethod, InputMethod
from camtool.placement import Placements
from camtool.targets import Output
from camtool.types import Maps


@dataclass(frozen=True, kw_only=True)
class CallContext:
    """Settings shared by all forward passes of one CAM call."""

    model: nn.Module
    inputs: Inputs
    layers: Mapping[str, nn.Module]
    """Target layers by path."""
    layer_methods: Mapping[str, BaseMethod]
    """Methods that read target layers, by name."""
    attention_methods: Mapping[str, AttentionMethod]
    input_methods: Mapping[str, InputMethod]
    layout: Layout | None
    """The user's layout, if any."""
    layouts: LayerLayouts
    """Finds the layout of each layer's output."""
    aug_smooth: bool
    eigen_smooth: bool
    fusion: Fusion
    """Fusion of several layers, for methods without their own."""
    progress: Progress | None
    skip_unfit: bool
    announce: Callable[[str, int, float], None] | None = None
    """Is told of methods that take many passes; see `costs`."""
    importances: bool = False
    """Whether the channels' importances are kept; see `CAMResult.importances`."""
    by_channel: bool | None = False
    """Whether the parts by channel of the input are kept, see `CAMResult.by_channel`; None: where there are any."""
    placements: Placements = field(default_factory=dict)
    """Where the cells of layers lie, by path; the cells of the others divide the input evenly."""
    checked: set[str] = field(default_factory=set)
    """What has been checked in this call already; see `check_copies_of_inputs`."""

    def __post_init__(self) -> None:
        if self.importances and self.aug_smooth:
            raise MethodError("Importances are those of one pass, and aug_smooth takes six; expected one of the two.")
        if self.by_channel and (self.aug_smooth or self.eigen_smooth):
            other = "aug_smooth, which takes six" if self.aug_smooth else "eigen_smooth, which sums none"
            raise MethodError(f"Parts by channel are sums over channels of one pass, got by_channel and {other}; leave one of them out.")

    def inputs_with(self, pictures: Tensor) -> Inputs:
        """Return the inputs with other pictures, repeated if these are several batches."""
        return self.inputs.repeated(len(pictures) // len(self.inputs.picture)).with_picture(pictures)

    def capture(self, layers: Mapping[str, nn.Module], pictures: Tensor, *, differentiate: bool) -> Capture:
        """Return the Capture of the activations of `layers` in a forward pass of these pictures."""
        fit = partial(self.layouts.fit, batch=len(pictures), input_size=pictures.shape[2:])
        return Capture(layers, fit, differentiate=differentiate, calls=self.layouts.calls.recorded)

    def activations_of(self, pictures: Tensor) -> dict[str, Maps]:
        """Return by path the target layers' activations (n, c, *feature) for other pictures, of a forward pass without a graph."""
        with self.capture(self.layers, pictures, differentiate=False) as capture:
            self.inputs_with(pictures).run_whole(self.model)
        captured = {path: capture.activations(path) for path in self.layers}
        return {path: layout.to_maps(tensor, pictures.shape[2:]) for path, (tensor, layout) in captured.items()}

    def check_copies_of_inputs(self, inputs: Inputs, logits: Output) -> None:
        """Raise MethodError if the network's scores of a sample depend on the copies beside it; checked once in a call.

        Args:
            inputs: of one forward pass.
            logits: its scores.
        """
        if "copies" not in self.checked:
            beside, count = first_beside_different(inputs)

            def run(numbers: list[int]) -> Any:
                return beside.with_picture(beside.picture[numbers]).run(self.model)

            check_copies(self.model, inputs, logits, run, count)
            self.checked.add("copies")

    def fusion_of(self, method: BaseMethod | None) -> Fusion:
        """Return the fusion of a method's maps of several layers; None: a method without target layers."""
        return (method and method.fusion) or self.fusion

    @property
    def names(self) -> list[str]:
        """Names of all methods."""
        return [*self.layer_methods, *self.attention_methods, *self.input_methods]

    @property
    def needs_whole_graph(self) -> bool:
        """Whether the graph must begin before the target layers, for attention and input methods."""
        return bool(self.attention_methods) or any(method.needs.gradients for method in self.input_methods.values())

    def needs_gradients(self, method: BaseMethod) -> bool:
        """Return whether a method's map needs gradients of the shared forward pass."""
        return method.needs.gradients or self.fusion_of(method).needs_importances

    def without(self, refused: Collection[str]) -> "CallContext":
        """Return the context without some methods."""
        return replace(
            self,
            layer_methods={name: method for name, method in self.layer_methods.items() if name not in refused},
            attention_methods={name: method for name, method in self.attention_methods.items() if name not in refused},
            input_methods={name: method for name, method in self.input_methods.items() if name not in refused},
        )
