"""CallContext: what is the same for every pass of a call."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from camtool.fusion import Fusion
from camtool.instrumentation.activations import Capture
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.inputs import Inputs
from camtool.layouts import Layout
from camtool.methods import AttentionMethod, InputMethod, Method


@dataclass(frozen=True)
class CallContext:
    """What is the same for every pass of a call."""

    model: nn.Module
    inputs: Inputs
    layers: Mapping[str, nn.Module]
    """Target layers by path."""
    methods: Mapping[str, Method]
    """Those that read target layers."""
    attention_methods: Mapping[str, AttentionMethod]
    input_methods: Mapping[str, InputMethod]
    layout: Layout | None
    """As the user gave it."""
    fit: Callable[..., Layout]
    """`fit(tensor, module, batch=…, input_size=…)`: the layout of what a layer gave."""
    aug_smooth: bool
    eigen_smooth: bool
    fusion: Fusion
    """Of several layers, for methods that have none of their own."""
    progress: Progress | None
    skip_unfit: bool

    def given(self, pictures: Tensor) -> Inputs:
        """Return the inputs with other pictures, repeated where these are several batches."""
        return self.inputs.repeated(len(pictures) // len(self.inputs.picture)).with_picture(pictures)

    def capturing(self, layers: Mapping[str, nn.Module], pictures: Tensor, *, differentiate: bool) -> Capture:
        """Return what captures `layers` in a pass of these pictures."""
        return Capture(layers, partial(self.fit, batch=len(pictures), input_size=pictures.shape[2:]), differentiate=differentiate)

    def fusion_of(self, method: Method) -> Fusion:
        """Return how a method's maps of several layers become one."""
        return method.fusion or self.fusion

    @property
    def keeps_graph(self) -> bool:
        """Whether the score must depend on more than the target layers: one cut from the graph would cut off the attention before it."""
        return bool(self.attention_methods or self.input_methods)

    def needs_gradients(self, method: Method) -> bool:
        """Return whether gradients of the shared pass are needed for a method's map."""
        return method.needs_gradients or self.fusion_of(method).needs_importances

    def without(self, refused: Collection[str]) -> "CallContext":
        """Return the setting without some methods."""
        return replace(
            self,
            methods={name: one for name, one in self.methods.items() if name not in refused},
            attention_methods={name: one for name, one in self.attention_methods.items() if name not in refused},
            input_methods={name: one for name, one in self.input_methods.items() if name not in refused},
        )
