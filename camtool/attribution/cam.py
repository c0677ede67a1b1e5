"""CAM: class activation maps of any nn.Module. Forward pass, gradients, layout, method, smoothing, fusion; no trace in the model."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from camtool.attribution.augmentation import augmented_mean
from camtool.attribution.computation import Computation
from camtool.attribution.context import CallContext
from camtool.attribution.input_gradients import input_source
from camtool.attribution.result import OK, CAMResult, MethodMaps, attention_source, layers_source, map_status
from camtool.errors import CamtoolError, LayerError, MethodError, warn
from camtool.fusion import Fusion, build_fusion
from camtool.instrumentation.acceleration import FastNetwork, Speed, build_speed
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.inputs import Inputs, find_inputs
from camtool.instrumentation.layer_paths import find_layer, path_of
from camtool.instrumentation.module_state import eager
from camtool.instrumentation.target_layers import LAST_NORM, Probe, probe
from camtool.layouts import Layout, build_layout, fit_layout
from camtool.methods import AttentionMethod, BaseMethod, InputMethod, build_method, build_methods, reads_layers
from camtool.methods._base import LAYERS
from camtool.targets import of_first_sample


class CAM:
    """Class activation maps of any nn.Module, with every hook and flag undone after each call.

    Args:
        model: any module whose output holds scores: a tensor (n, classes), a tuple, a dict, or an object with `.logits`.
        target_layers: paths ("layer4[-1]") or modules, one or several (fused; see `fuse`); None: derived by probing the network
            once; "last-norm": the last normalisation layer that can serve. Methods of attention read every layer's and no target
            layer, nor do fullgrad and guidedbackprop, which read the input's gradient; beside others they leave it to these.
        method: a name, a config dict, or several of them.
        layout: how the layer's tensor becomes maps; None: found from its shape.
        aug_smooth: mean over six flipped and brightened copies.
        eigen_smooth: first principal component instead of the sum over channels.
        fuse: what the maps of several layers become: "mean", "product", or a config dict such as
            `dict(type='Winsorized', percentile=80)`, also "refined"; methods with a rule of their own (refinecam, polycam …) keep it.
        input: of a network with several inputs, the one that the maps lie over: its key or position; None: the only one that can be.
        skip_unfit: leave out methods that do not fit the network, instead of raising; `refused` says which, and why.
        progress: called between the chunks of methods that run long, with what is done, how much of it, and of how much.
        speed: what makes a copy of the network faster, `dict(fold=True, channels_last=True, compile=True, amp="bf16")`; see
            `camtool.instrumentation.acceleration.Speed`. For methods that read target layers.

    Raises:
        CamtoolError: in words, for a layer, method or layout that does not exist or fit.
    """

    def __init__(  # noqa: PLR0913 - a keyword each
        self,
        model: nn.Module,
        target_layers: str | nn.Module | Sequence[str | nn.Module] | None = None,
        method: str | dict[str, Any] | BaseMethod | Iterable[str | dict[str, Any] | BaseMethod] = "gradcam",
        *,
        layout: str | dict[str, Any] | Layout | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        fuse: str | dict[str, Any] | Fusion = "mean",
        input: str | int | tuple[str | int, ...] | None = None,  # noqa: A002 - the field's own word
        skip_unfit: bool = False,
        progress: Progress | None = None,
        speed: Speed | Mapping[str, Any] | None = None,
    ) -> None:
        self._model = eager(model)
        self.methods = build_methods(method)
        self._several_methods = not isinstance(method, (str, dict, BaseMethod))
        self._layer_methods = {name: method for name, method in self.methods.items() if method.reads == LAYERS}
        self._attention_methods = {name: method for name, method in self.methods.items() if isinstance(method, AttentionMethod)}
        self._input_methods = {name: method for name, method in self.methods.items() if isinstance(method, InputMethod)}
        for base in (method.base for method in self._input_methods.values() if method.base):
            self._layer_methods.setdefault(base, build_method(base))
        self._layout = build_layout(layout)
        self._aug_smooth = aug_smooth
        self._eigen_smooth = eigen_smooth
        self._fusion = build_fusion(fuse)
        self._input = input
        self._progress = progress
        self._skip_unfit = skip_unfit
        self._unfit: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        """By method that does not fit: why; of the last call, with `skip_unfit`."""
        self._fast = FastNetwork(self._model, build_speed(speed))
        without_channels = [*self._attention_methods, *self._input_methods]
        if eigen_smooth and without_channels:
            error = MethodError(
                f"eigen-smooth is a principal component over channels; {_named(without_channels)} has none. Leave it out, or use a "
                "method of activations, such as 'gradcam'."
            )
            self._leave_out(without_channels, error)
        if self._fast.speed and without_channels:
            error = MethodError(
                f"`speed` makes a copy of the network that has other layers inside; {_named(without_channels)} reads all of them. "
                "Leave it out, or use methods of target layers alone."
            )
            self._leave_out(without_channels, error)
        self.reason = "as given" if self._layer_methods else "no method reads a target layer"
        """Why these layers: "as given", or the rule that chose."""
        self._derive_last_norm = False
        self._layers: dict[str, nn.Module] = self._find_layers(target_layers)

    def __enter__(self) -> "CAM":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to release: hooks live only during a call."""

    @property
    def target_layers(self) -> list[str]:
        """Canonical paths; empty until a derived layer is known, after the first call, and where no method reads any."""
        return list(self._layers)

    def __call__(self, inputs: Any, targets: Any = None) -> Any:
        """Return a CAMResult, or one by method name if several methods were asked for; all share one forward pass.

        Args:
            inputs: (n, c, *spatial), preprocessed; or a tuple of arguments by position, or a dict by keyword, with such a tensor.
            targets: None (each sample's predicted class), one class index for all, one item per sample, or one list of k items
                per sample; an item is a class index or a callable of `camtool.targets`.
        """
        self._check_model()
        # A caller's inference mode would make tensors that no graph accepts; a caller's grad mode must not build one upstream.
        with torch.inference_mode(False), torch.no_grad():
            given = find_inputs(inputs, self._input).detached()
            if not self._layers and self._layer_methods:
                self._derive_layer(inputs, targets)
            model = self._fast.of(given, self.target_layers)
            given = self._fast.arranged(given)
            computation = Computation(self._context(model, given), targets)
            with self._fast.autocast(given.picture.device):
                explained = augmented_mean(computation.explain, given.picture) if self._aug_smooth else computation.explain(given.picture)
            self.refused = {**self._unfit, **computation.refused}
            results = {name: self._result(name, explained[name], computation) for name in self.methods if name not in self.refused}
        if not results:
            raise MethodError("No method fits this network. " + " ".join(f"{name}: {why}" for name, why in self.refused.items()))
        return results if self._several_methods else next(iter(results.values()))

    def probe(self, inputs: Any, targets: Any = None) -> Probe:
        """Return what every layer of the network gives on the first sample of `inputs`, and which can serve as target layer."""
        self._check_model()
        with torch.inference_mode(False):
            one = find_inputs(inputs, self._input).first_sample().detached()
            fit = partial(self._fit, batch=1, input_size=one.picture.shape[2:])
            return probe(self._model, one, fit, of_first_sample(targets))

    def _fit(self, tensor: Tensor, module: nn.Module, batch: int, input_size: Sequence[int]) -> Layout:
        return fit_layout(tensor, batch, input_size, self._layout, module=module)

    def _context(self, model: nn.Module, given: Inputs) -> CallContext:
        return CallContext(
            model=model,
            inputs=given,
            layers={path: find_layer(model, path)[1] for path in self._layers},
            layer_methods=self._layer_methods,
            attention_methods=self._attention_methods,
            input_methods=self._input_methods,
            layout=self._layout,
            fit=self._fit,
            aug_smooth=self._aug_smooth,
            eigen_smooth=self._eigen_smooth,
            fusion=self._fusion,
            progress=self._progress,
            skip_unfit=self._skip_unfit,
        )

    def _find_layers(self, target_layers: Any) -> dict[str, nn.Module]:
        if target_layers is None:
            return {}
        if not self._layer_methods:
            raise MethodError(
                f"Target layers are given, but {self._reading()} and no target layer; leave them out, or "
                "add a method that reads them, such as 'gradcam'."
            )
        given = [target_layers] if isinstance(target_layers, (str, nn.Module)) else list(target_layers)
        if given == [LAST_NORM]:
            self._derive_last_norm = True
            return {}
        if LAST_NORM in given:
            raise LayerError(f"'{LAST_NORM}' is a rule that finds one layer; give it alone, or name the layers.")
        if not given:
            raise LayerError("No target layer given; leave target_layers out to have one derived.")
        layers = dict(find_layer(self._model, path_of(self._model, one) if isinstance(one, nn.Module) else one) for one in given)
        for path, module in layers.items():
            if isinstance(module, torch.jit.ScriptModule):
                raise LayerError(f"Layer '{path}' is scripted; hooks do not see it. Use the nn.Module it was scripted from.")
        return layers

    def _derive_layer(self, inputs: Any, targets: Any) -> None:
        found = self.probe(inputs, targets)
        try:
            path, self.reason = found.last_norm() if self._derive_last_norm else found.default_layer()
        except LayerError as error:
            if self._layout is not None or len(self._layer_methods) == len(self.methods):  # a layout that was insisted on is wrong
                raise
            self._leave_out([name for name, one in self.methods.items() if reads_layers(one)], error)
            self._layer_methods.clear()  # what others are based on, too
            return
        self._layers = dict([find_layer(self._model, path)])

    def _leave_out(self, names: Sequence[str], error: CamtoolError) -> None:
        """Go on without methods that do not fit this network, whatever the input; raise unless that was asked for."""
        if not self._skip_unfit:
            raise error
        self._unfit |= dict.fromkeys(names, str(error))
        for methods in (self._layer_methods, self._attention_methods, self._input_methods):
            for name in names:
                methods.pop(name, None)

    def _check_model(self) -> None:
        if any(parameter.is_inference() for parameter in self._model.parameters()):
            raise CamtoolError("The model was built under torch.inference_mode(); no gradient can be taken. Build it outside of it.")

    def _result(self, name: str, explained: MethodMaps, computation: Computation) -> CAMResult:
        status = [[map_status(explained, sample, k) for k in range(explained.maps.shape[1])] for sample in range(len(explained.maps))]
        targets = [[getattr(target, "index", target) for target in row] for row in computation.targets]
        for sample, row in enumerate(status):
            for target, text in zip(targets[sample], row, strict=True):
                if text != OK:
                    warn(f"{name}, sample {sample}, target {target}: {text}.")

        def shaped(item: Any) -> Any:
            if computation.nested:
                return item
            return item[:, 0] if isinstance(item, Tensor) else [row[0] for row in item]

        return CAMResult(
            method=name,
            maps=shaped(explained.maps),
            raw={path: shaped(raw) for path, raw in explained.raw.items()},
            layer_maps={path: shaped(maps) for path, maps in explained.layer_maps.items()},
            status=shaped(status),
            logits=computation.logits,
            predicted=computation.logits.argmax(dim=1).tolist()
            if isinstance(computation.logits, Tensor) and computation.logits.ndim == 2
            else None,
            targets=shaped(targets),
            layers=self._layers_of(name, computation),
            source=self._source(name, computation),
            class_discriminative=self.methods[name].class_discriminative,
            attributions=None if explained.attributions is None else shaped(explained.attributions),
            seconds=dict(computation.seconds),
        )

    def _layers_of(self, name: str, computation: Computation) -> list[str]:
        if name in self._attention_methods:
            return computation.attention_layers
        return self.target_layers if reads_layers(self.methods[name]) else []

    def _source(self, name: str, computation: Computation) -> str:
        if name in self._attention_methods:
            return attention_source(computation.attention_layers)
        of_layers = layers_source(self.target_layers, getattr(self.methods[name], "fusion", None) or self._fusion)
        return input_source(self._input_methods[name].base, of_layers) if name in self._input_methods else of_layers

    def _reading(self) -> str:
        """Return in words what methods without target layers read instead."""
        families = ((self._attention_methods, "the attention of all layers"), (self._input_methods, "the gradient at the input"))
        return " and ".join(f"{_named(methods)} reads {what}" for methods, what in families if methods)


def _named(methods: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in methods)
