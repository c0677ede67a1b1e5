"""CAM: class activation maps of any nn.Module, by several methods in one call, without a trace in the model."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from camtool.attribution.augmentation import augmented_mean
from camtool.attribution.call_results import call_result, no_method
from camtool.attribution.computation import Computation
from camtool.attribution.context import CallContext
from camtool.attribution.costs import Announce
from camtool.attribution.fit import named, unfit_without_channels
from camtool.attribution.result import MethodMaps, checked_dtype
from camtool.axes import Axes
from camtool.errors import CamtoolError, LayerError, MethodError, some
from camtool.fusion import Fusion, build_fusion
from camtool.instrumentation.acceleration import FastNetwork, Speed, build_speed
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.bias_gradients import biased_layers
from camtool.instrumentation.calls import only_call
from camtool.instrumentation.differentiation import mutations_allowed
from camtool.instrumentation.entrances import entrances
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_calls import Call, LayerCalls, read_call
from camtool.instrumentation.layer_layouts import LayerLayouts
from camtool.instrumentation.layer_paths import ENTRANCE, find_layer, find_layers
from camtool.instrumentation.layer_rules import AUTO, rule_of
from camtool.instrumentation.module_state import check_weights, eager
from camtool.instrumentation.network_inputs import network_inputs
from camtool.instrumentation.placements import find_placements
from camtool.instrumentation.target_layers import Probe, probed
from camtool.layouts import LayoutSpec, build_layout
from camtool.methods import AttentionMethod, BaseMethod, InputMethod, build_method, build_methods, reads_layers
from camtool.methods._base import LAYERS
from camtool.placement import Placement, Placements, PlacementSetting, build_placement
from camtool.targets import OutputName, of_first_sample


class CAM:
    """Computes class activation maps of any nn.Module; all hooks and flags are undone after each call.

    Args:
        model: any module whose output holds scores: a tensor (n, classes), a tuple, a dict, or an object with `.logits`.
        target_layers: paths ("layer4[-1]"; "layer4[-1]:input" for a layer's input) or modules, one or several (fused; see `fuse`); None:
            or "auto": derived by probing the network once; "last-norm": the last normalisation layer that can be a target layer; "full":
            every layer that can, in one pass. Attention methods use the attention of all layers, fullgrad and guidedbackprop the
            input's gradient; they ignore the target layers of others.
        method: a name, a config dict, or several of them.
        layout: layout of the target layers' tensors: a name, a config dict, or a function from a tensor to maps (n, c, *spatial); None:
            the only reading of their shape, or the one that a measurement confirms.
        aug_smooth: mean over six flipped and brightened copies, in one pass where memory allows, and two more of two samples: whether
            the network treats the samples of a batch one by one.
        eigen_smooth: first principal component instead of the sum over channels.
        fuse: fusion of the maps of several layers: "mean", "product", "max", "refined", or a config dict such as
            `dict(type='Winsorized', percentile=80)`; methods with a fusion of their own (refinecam, polycam …) keep it.
        input: key or position of the input that the maps lie over, for networks with several; None: the only possible one.
        input_axes: letters of this input's axes: n the batch, c the channels if there are any, others the spatial axes, such as
            "ntchw" or "ntf"; None: those the network is known to take (transformers), else n, c, spatial.
        call: of target layers that one forward pass calls several times (a Siamese network's backbone): the number of the call whose
            output is explained, from 0, negative from the end; or a dict of these by layer path. None: the last on the way from the
            input of the maps to the score, with a remark; finding it takes three further forward passes.
        output: of a network that returns several scores (heads of several tasks): which of them targets and classes mean, a key, a field,
            a position, or several of these by dots ("heads.0"); None: the first, with a remark that names the others.
        per_sample: keys or positions of the other inputs that belong to the samples, one part each; None: those as long as the batch,
            if the network's scores, in two or three passes of one sample, show that they do.
        skip_unfit: leave out methods that do not fit the network, instead of raising; `refused` has the reasons by method.
        progress: called between the chunks of long computations as `progress(description, done, total)`.
        announce: called before the maps of a method that takes more than 100 passes for one, as `announce(method, passes, seconds)`.
        speed: settings of an accelerated copy of the network, `dict(fold=True, channels_last=True, compile=True, amp="bf16")`; see
            `camtool.instrumentation.acceleration.Speed`. For methods of target layers only.
        placement: where the cells of a layer lie on the input: "even" divides it evenly, as every other package does; "measured" where
            the network's own weights look, measured once by 18 forward passes (see `camtool.instrumentation.cell_places`); or numbers,
            `dict(scale=(32, 32), offset=(0, 0))` in pixels by axis, of every target layer, or a dict of these by layer path.
        dtype: floating-point dtype of the maps; `raw` has the network's precision, but float32 at least.

    Raises:
        CamtoolError: for a layer, method or layout that does not exist or does not fit.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # class scores: the channels' means
        >>> picture = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[8.0, 0.0], [0.0, 0.0]]]])
        >>> results = CAM(model, "[0]", ["gradcam", "layercam"])(picture, targets=0)
        >>> results["gradcam"].maps
        tensor([[[0.0000, 0.2500],
                 [0.5000, 1.0000]]])
    """

    def __init__(  # noqa: PLR0913 - a keyword each
        self,
        model: nn.Module,
        target_layers: str | nn.Module | Sequence[str | nn.Module] | None = None,
        method: str | dict[str, Any] | BaseMethod | Iterable[str | dict[str, Any] | BaseMethod] = "gradcam",
        *,
        layout: LayoutSpec = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        fuse: str | dict[str, Any] | Fusion = "mean",
        input: str | int | tuple[str | int, ...] | None = None,  # noqa: A002 - the field's own word
        input_axes: str | None = None,
        call: int | Mapping[str, int] | None = None,
        output: OutputName = None,
        per_sample: Collection[str | int | tuple[str | int, ...]] | None = None,
        skip_unfit: bool = False,
        progress: Progress | None = None,
        announce: Announce | None = None,
        speed: Speed | Mapping[str, Any] | None = None,
        placement: str | Placement | PlacementSetting | Mapping[str, Any] = "even",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = eager(model)
        self.methods = build_methods(method)
        self.several_methods = not isinstance(method, (str, dict, BaseMethod))
        self._layer_methods = {name: method for name, method in self.methods.items() if method.reads == LAYERS}
        self._attention_methods = {name: method for name, method in self.methods.items() if isinstance(method, AttentionMethod)}
        self._input_methods = {name: method for name, method in self.methods.items() if isinstance(method, InputMethod)}
        for base in (method.base for method in self._input_methods.values() if method.base):
            self._layer_methods.setdefault(base, build_method(base))
        self._layout = build_layout(layout)
        self._aug_smooth = aug_smooth
        self._eigen_smooth = eigen_smooth
        self._fusion = build_fusion(fuse)
        self._dtype = checked_dtype(dtype)
        self._placement = build_placement(placement)
        self._input, self._per_sample = input, per_sample
        self.output = output
        """Name of the explained output, as given."""
        self.input_axes = None if input_axes is None else Axes(input_axes).letters
        """Axes of the input, as given; None: found from the network."""
        self._progress = progress
        self.announce = announce
        """As given; may be changed between calls."""
        self.importances = False
        self.by_channel: bool | None = False
        """Whether results have the fields of these names; None: if the layers keep the input's channels apart. May change between calls."""
        self._skip_unfit = skip_unfit
        self._unfit: dict[str, CamtoolError] = {}
        self.refusals: dict[str, CamtoolError] = {}
        self.refused: dict[str, str] = {}
        """Reasons by method that does not fit, of the last call with `skip_unfit`; `refusals` has the errors."""
        self._fast = FastNetwork(self._model, build_speed(speed))
        of_all = [*self._attention_methods, *self._input_methods]
        not_smoothed = [name for name in of_all if name not in self._input_methods or not self._input_methods[name].smooths]
        for names, error in unfit_without_channels(of_all, not_smoothed if eigen_smooth else [], speed=bool(self._fast.speed)):
            self._leave_out(names, error)
        self.reason = "as given" if self._layer_methods else "no method reads a target layer"
        """Why these layers: "as given", or the rule that chose them."""
        self._rule = AUTO
        self._layers: dict[str, nn.Module] = self._find_layers(target_layers)
        self._call = self._read_call(call)

    def __enter__(self) -> "CAM":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: hooks exist only during a call."""

    @property
    def target_layers(self) -> list[str]:
        """Canonical paths; empty before the first call if the layer is derived, and if no method has target layers."""
        return list(self._layers)

    def __call__(self, inputs: Any, targets: Any = None) -> Any:
        """Return a CAMResult, or a dict of them by method name if `method` was several; all share one forward pass.

        Args:
            inputs: (n, c, *spatial), or as `input_axes` says, preprocessed; or a tuple of arguments by position, or a dict by keyword,
                with such a tensor. Maps have the spatial axes in the input's order.
            targets: None (each sample's predicted class), one class index for all, one item per sample, or one list of k items
                per sample; an item is a class index or a callable of `camtool.targets`.
        """
        check_weights(self._model)
        # A caller's inference mode would make tensors that cannot join a graph; a caller's grad mode must not build one upstream.
        with only_call(self._model), torch.inference_mode(False), torch.no_grad(), entrances(self._model, self._layers):
            prepared = self._found(inputs).detached()
            if not self._layers and self._layer_methods:
                self._derive_layer(inputs, targets)
            calls = LayerCalls(self._model, prepared, targets, self._call, layers=self._layers)
            layouts = LayerLayouts(self._model, prepared, self._layout, progress=self._progress, calls=calls)
            model = self._fast.of(prepared, self.target_layers)
            explain = partial(self._explain, model, self._fast.arranged(prepared), layouts, targets)
            computation, explained = layouts.settled(partial(mutations_allowed, explain))
            self.refusals = {**self._unfit, **computation.refused}
            self.refused = {name: str(error) for name, error in self.refusals.items()}
            of_call = computation, layouts, self.target_layers, self._fusion
            results = {
                name: call_result(name, method, explained[name].in_dtype(self._dtype), *of_call)
                for name, method in self.methods.items()
                if name not in self.refused
            }
        if not results:
            raise no_method(self.refusals)
        return results if self.several_methods else next(iter(results.values()))

    def _explain(self, model: nn.Module, inputs: Inputs, layouts: LayerLayouts, targets: Any) -> tuple[Computation, dict[str, MethodMaps]]:
        # Of the network itself: a copy's lower precision would be measured along.
        biased = biased_layers(self._model) if any(method.needs.bias_gradients for method in self._input_methods.values()) else {}
        layers = {path: find_layer(self._model, path)[1] for path in self._layers}
        placements = find_placements(self._placement, self._model, inputs, layers, biased, layouts, layouts.calls)
        computation = Computation(self._context(model, inputs, layouts, placements), targets)
        with self._fast.autocast(inputs.picture.device):
            if self._aug_smooth:
                return computation, augmented_mean(computation.explain, inputs.picture)
            return computation, computation.explain(inputs.picture)

    def probe(self, inputs: Any, targets: Any = None) -> Probe:
        """Return the measurements of every layer on the first sample of `inputs`, and the layers that can be target layers."""
        check_weights(self._model)
        with only_call(self._model), torch.inference_mode(False):
            found = self._found(inputs).detached()
            # Other inputs as long as the batch may be none of its samples': as many captions as pictures.
            if len(found.batch_axes) == 1:
                found, targets = found.first_sample(), of_first_sample(targets)
            return probed(self._model, found, targets, self._layout, self._progress, self._call)

    def _found(self, inputs: Any) -> Inputs:
        return network_inputs(self._model, inputs, self._input, self.input_axes, self._per_sample, self.output)

    def _context(self, model: nn.Module, inputs: Inputs, layouts: LayerLayouts, placements: Placements) -> CallContext:
        return CallContext(
            model=model,
            inputs=inputs,
            layers={path: find_layer(model, path)[1] for path in self._layers},
            layer_methods=self._layer_methods,
            attention_methods=self._attention_methods,
            input_methods=self._input_methods,
            layout=self._layout,
            layouts=layouts,
            aug_smooth=self._aug_smooth,
            eigen_smooth=self._eigen_smooth,
            fusion=self._fusion,
            progress=self._progress,
            skip_unfit=self._skip_unfit,
            announce=self.announce,
            importances=self.importances,
            by_channel=self.by_channel,
            placements=placements,
        )

    def _find_layers(self, target_layers: Any) -> dict[str, nn.Module]:
        if target_layers is None:
            return {}
        if not self._layer_methods:
            raise MethodError(
                f"Target layers are given, but {self._reading()} and no target layer. Leave them out, or "
                "add a method that reads them, such as 'gradcam'."
            )
        requested = [target_layers] if isinstance(target_layers, (str, nn.Module)) else list(target_layers)
        if rule := rule_of(self._model, requested):
            self._rule = rule
            return {}
        if not requested:
            raise LayerError("No target layer given; leave target_layers out to have one derived.")
        layers = find_layers(self._model, requested)
        if self._fast.speed and any(path.endswith(ENTRANCE) for path in layers):
            raise LayerError("A faster copy of the network has no inputs of layers; leave speed out, or name the layer in front.")
        return layers

    def _read_call(self, given: int | Mapping[str, int] | None) -> Call:
        call = read_call(self._model, given)
        if call is not None and not self._layer_methods:
            raise MethodError(
                f"The call of a target layer is given, but {self._reading()} and no target layer. Leave it out, or add a method that reads "
                "target layers, such as 'gradcam'."
            )
        others = [path for path in call if self._layers and path not in self._layers] if isinstance(call, dict) else []
        if others:
            raise LayerError(f"Expected calls of the target layers, {some(self.target_layers)}, got one of '{others[0]}'; leave it out.")
        return call

    def _derive_layer(self, inputs: Any, targets: Any) -> None:
        found = self.probe(inputs, targets)
        try:
            paths, self.reason = found.chosen_by(self._rule)
        except LayerError as error:
            if self._layout is not None or len(self._layer_methods) == len(self.methods):  # a layout chosen by the user is wrong
                raise
            self._leave_out([name for name, method in self.methods.items() if reads_layers(method)], error)
            self._layer_methods.clear()  # the base methods of others, too
            return
        self._layers = find_layers(self._model, paths)

    def _leave_out(self, names: Sequence[str], error: CamtoolError) -> None:
        """Leave out methods that fit no input of this network if `skip_unfit`; raise the error otherwise."""
        if not self._skip_unfit:
            raise error
        self._unfit |= dict.fromkeys(names, error)
        for methods in (self._layer_methods, self._attention_methods, self._input_methods):
            for name in names:
                methods.pop(name, None)

    def _reading(self) -> str:
        """Return in words what the methods without target layers read instead."""
        families = ((self._attention_methods, "the attention of all layers"), (self._input_methods, "the input"))
        return " and ".join(f"{named(methods)} reads {what}" for methods, what in families if methods)
