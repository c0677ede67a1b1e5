"""The engine: forward, gradients, layout, method, smoothing, fusion. The only orchestrator; it leaves no trace in the model."""

import time
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from camtool.capture import Capture, eager, evaluating
from camtool.errors import CamtoolError, CamtoolWarning, LayerError, MethodError
from camtool.functional import widened
from camtool.heads import find_linear_head
from camtool.layers import find_layer, path_of
from camtool.layouts import Layout, build_layout, fit_layout
from camtool.methods import Method, build_methods
from camtool.methods._base import Evidence
from camtool.probe import LAST_NORM, Probe, probe
from camtool.result import OK, CAMResult, MethodMaps, finished, map_status
from camtool.smoothing import augmented_mean
from camtool.targets import Target, find_logits, of_first_sample, resolve_targets, scores
from camtool.types import Maps


class CAM:
    """Class activation maps of any nn.Module, with every hook and flag undone after each call.

    Args:
        model: any module whose output holds scores: a tensor (n, classes), a tuple, a dict, or an object with `.logits`.
        target_layers: paths ("layer4[-1]") or modules, one or several (fused by their mean); None: derived by probing the network
            once; "last-norm": the last normalisation layer that can serve.
        method: a name, a config dict, or several of them.
        layout: how the layer's tensor becomes maps; None: found from its shape.
        aug_smooth: mean over six flipped and brightened copies.
        eigen_smooth: first principal component instead of the sum over channels.

    Raises:
        CamtoolError: in words, for a layer, method or layout that does not exist or fit.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: str | nn.Module | Sequence[str | nn.Module] | None = None,
        method: str | dict[str, Any] | Method | Iterable[str | dict[str, Any] | Method] = "gradcam",
        *,
        layout: str | dict[str, Any] | Layout | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> None:
        self._model = eager(model)
        self.methods = build_methods(method)
        self._several_methods = not isinstance(method, (str, dict, Method))
        self._layout = build_layout(layout)
        self._aug_smooth = aug_smooth
        self._eigen_smooth = eigen_smooth
        self.reason = "as given"
        """Why these layers: "as given", or the rule that chose."""
        self._derive_last_norm = False
        self._layers: dict[str, nn.Module] = self._find_layers(target_layers)

    def __enter__(self) -> "CAM":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to release: hooks live only during a call."""

    @property
    def target_layers(self) -> list[str]:
        """Canonical paths; empty until a derived layer is known, after the first call."""
        return list(self._layers)

    def __call__(self, inputs: Tensor, targets: Any = None) -> Any:
        """Return a CAMResult, or one by method name if several methods were asked for; all share one forward pass.

        Args:
            inputs: (n, c, *spatial), preprocessed.
            targets: None (each sample's predicted class), one class index for all, one item per sample, or one list of k items
                per sample; an item is a class index or a callable of `camtool.targets`.
        """
        self._check_inputs(inputs)
        # A caller's inference mode would make tensors that no graph accepts; a caller's grad mode must not build one upstream.
        with torch.inference_mode(False), torch.no_grad():
            inputs = inputs.detach().clone()  # a first layer may work in place
            if not self._layers:
                self._derive_layer(inputs, targets)
            call = _Call(self, targets)
            explained = augmented_mean(call.explain, inputs) if self._aug_smooth else call.explain(inputs)
            results = {}
            for name, maps in explained.items():  # no comprehension: before Python 3.12 it is a frame, which stacklevel counts
                results[name] = self._result(name, maps, call)
        return results if self._several_methods else next(iter(results.values()))

    def probe(self, inputs: Tensor, targets: Any = None) -> Probe:
        """Return what every layer of the network gives on the first sample of `inputs`, and which can serve as target layer."""
        self._check_inputs(inputs)
        with torch.inference_mode(False):
            one = inputs[:1].detach().clone()
            fit = partial(self._fit, batch=1, input_size=one.shape[2:])
            return probe(self._model, one, fit, of_first_sample(targets))

    def _fit(self, tensor: Tensor, module: nn.Module, batch: int, input_size: Sequence[int]) -> Layout:
        return fit_layout(tensor, batch, input_size, self._layout, module=module)

    def _find_layers(self, target_layers: Any) -> dict[str, nn.Module]:
        if target_layers is None:
            return {}
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

    def _derive_layer(self, inputs: Tensor, targets: Any) -> None:
        found = self.probe(inputs, targets)
        path, self.reason = found.last_norm() if self._derive_last_norm else found.default_layer()
        self._layers = dict([find_layer(self._model, path)])

    def _check_inputs(self, inputs: Tensor) -> None:
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.ndim not in (3, 4, 5) or 0 in inputs.shape:
            found = f"shape {tuple(inputs.shape)} of {inputs.dtype}" if isinstance(inputs, Tensor) else type(inputs).__name__
            raise CamtoolError(f"Expected inputs (n, c, *spatial) of floating point with one to three spatial axes, got {found}.")
        if any(parameter.is_inference() for parameter in self._model.parameters()):
            raise CamtoolError("The model was built under torch.inference_mode(); no gradient can be taken. Build it outside of it.")

    def _result(self, name: str, explained: MethodMaps, call: "_Call") -> CAMResult:
        status = [[map_status(explained, sample, k) for k in range(explained.maps.shape[1])] for sample in range(len(explained.maps))]
        targets = [[getattr(target, "index", target) for target in row] for row in call.targets]
        for sample, row in enumerate(status):
            for target, text in zip(targets[sample], row, strict=True):
                if text != OK:
                    warnings.warn(f"{name}, sample {sample}, target {target}: {text}.", CamtoolWarning, stacklevel=3)

        def shaped(item: Any) -> Any:
            if call.nested:
                return item
            return item[:, 0] if isinstance(item, Tensor) else [row[0] for row in item]

        return CAMResult(
            method=name,
            maps=shaped(explained.maps),
            raw={path: shaped(raw) for path, raw in explained.raw.items()},
            layer_maps={path: shaped(maps) for path, maps in explained.layer_maps.items()},
            status=shaped(status),
            logits=call.logits,
            predicted=call.logits.argmax(dim=1).tolist() if call.logits.ndim == 2 else None,
            targets=shaped(targets),
            layers=self.target_layers,
            class_discriminative=self.methods[name].class_discriminative,
            seconds=dict(call.seconds),
        )


class _Call:
    """One call of the engine: its first pass fixes the targets, every further pass (aug-smooth) keeps them."""

    targets: list[list[Target]]
    logits: Tensor

    def __init__(self, cam: CAM, targets: Any) -> None:
        self._cam = cam
        self._asked: Any = targets
        self._is_first = True
        self.nested = False
        self.seconds = {"forward": 0.0, "maps": 0.0}

    def explain(self, inputs: Tensor) -> dict[str, MethodMaps]:
        """Return every method's maps, from one forward pass."""
        cam, model = self._cam, self._cam._model
        differentiate = any(method.needs_gradients for method in cam.methods.values())
        fit = partial(cam._fit, batch=len(inputs), input_size=inputs.shape[2:])
        started = _now(inputs)
        with evaluating(model), Capture(cam._layers, fit, differentiate=differentiate) as capture:
            logits = find_logits(model(inputs), batch=len(inputs))
            forwarded = _now(inputs)
            if self._is_first:
                self.targets, self.nested = resolve_targets(self._asked, logits)
                self.logits, self._is_first = logits.detach(), False
                _warn_of_calls(capture, cam._aug_smooth)
            captured = {path: capture.activations(path) for path in cam._layers}
            gradients = self._gradients(logits, captured) if differentiate else None
        with torch.autocast(inputs.device.type, enabled=False):  # the arithmetic of maps is float32 or wider, whatever the caller's
            raws = self._raw_maps(inputs, logits.detach(), captured, gradients)
        explained = {name: finished(raw, inputs.shape[2:]) for name, raw in raws.items()}
        self.seconds["forward"] += forwarded - started
        self.seconds["maps"] += _now(inputs) - forwarded
        return explained

    def _gradients(self, logits: Tensor, captured: dict[str, tuple[Tensor, Layout]]) -> list[dict[str, Tensor]]:
        """Return for each of the k targets the gradient at each layer, as the layer shaped it."""
        tensors = [activations for activations, _ in captured.values()]
        count = len(self.targets[0])
        gradients = []
        for k in range(count):
            with torch.enable_grad():
                score = scores([row[k] for row in self.targets], logits).sum()
            if not score.requires_grad:
                raise LayerError(_disconnected(list(captured)))
            found = torch.autograd.grad(score, tensors, retain_graph=k < count - 1, allow_unused=True)
            of_layer = {path: gradient for path, gradient in zip(captured, found, strict=True) if gradient is not None}
            if len(of_layer) < len(captured):
                raise LayerError(_disconnected([path for path in captured if path not in of_layer]))
            gradients.append(of_layer)
        return gradients

    def _raw_maps(
        self,
        inputs: Tensor,
        logits: Tensor,
        captured: dict[str, tuple[Tensor, Layout]],
        gradients: list[dict[str, Tensor]] | None,
    ) -> dict[str, dict[str, Tensor]]:
        """Return by method and layer the signed raw maps (n, k, *feature)."""
        size, cam = inputs.shape[2:], self._cam
        raws: dict[str, dict[str, Tensor]] = {name: {} for name in cam.methods}
        for path, (tensor, layout) in captured.items():
            activations = widened(layout.to_maps(tensor.detach(), size))
            if not activations.isfinite().all():
                raise LayerError(f"Layer '{path}' gives NaN or infinite values on this input; check the weights and the precision.")
            by_target: list[Tensor | None] = [None]
            if gradients is not None:
                by_target = [self._checked(path, k, widened(layout.to_maps(one[path], size))) for k, one in enumerate(gradients)]
            for name, method in cam.methods.items():
                maps = []
                for k, gradient in enumerate(by_target if method.needs_gradients else [None]):
                    maps.extend(self._one_method(method, activations, gradient, logits, k))
                # A class-agnostic map is the same for every target.
                stacked = torch.stack(maps, dim=1)
                raws[name][path] = stacked.expand(-1, len(self.targets[0]), *stacked.shape[2:]).contiguous()
                if not stacked.isfinite().all():
                    raise MethodError(f"Method '{name}' gives NaN or infinite values at layer '{path}'; try another layer or method.")
        return raws

    def _one_method(self, method: Method, activations: Maps, gradient: Maps | None, logits: Tensor, k: int) -> list[Tensor]:
        targets = [k] if method.needs_gradients or not method.class_discriminative else range(len(self.targets[0]))
        maps = []
        for target in targets:
            class_weights = partial(self._class_weights, activations, logits, target)
            contributions = method.contributions(Evidence(activations, gradient, class_weights))
            maps.append(method.collapse_smoothly(contributions) if self._cam._eigen_smooth else method.collapse(contributions))
        return maps

    def _class_weights(self, activations: Maps, logits: Tensor, k: int) -> Tensor:
        """Return (n, c): the final linear layer's weights, combined as the target combines the logits."""
        head = find_linear_head(self._cam._model, activations, widened(logits))
        with torch.enable_grad():
            leaf = widened(logits).clone().requires_grad_()
            score = scores([row[k] for row in self.targets], leaf).sum()
            (of_logits,) = torch.autograd.grad(score, leaf)
        return of_logits @ head.weight

    def _checked(self, path: str, k: int, gradient: Maps) -> Maps:
        dead = (gradient == 0).flatten(1).all(dim=1).nonzero().flatten().tolist()
        if dead:
            targets = [getattr(self.targets[sample][k], "index", self.targets[sample][k]) for sample in dead[:5]]
            raise LayerError(
                f"Layer '{path}': the score of target {_listed(targets)} (sample {_listed(dead[:5])}) has a gradient of exactly zero "
                "at every position. Where a class token is read, layers behind the last attention have none: choose the first norm "
                "of the last block, or leave the target layers out to have one derived. A head with weights of zero has none either: "
                "load trained weights."
            )
        return gradient


def _warn_of_calls(capture: Capture, aug_smooth: bool) -> None:
    for path, record in capture.records.items():
        if record.calls > 1:
            warnings.warn(
                f"Layer '{path}' is called {record.calls} times in a forward pass; its first call is explained.",
                CamtoolWarning,
                stacklevel=5 if aug_smooth else 4,  # the caller of CAM
            )


def _disconnected(paths: Sequence[str]) -> str:
    return (
        f"Layer {_listed([repr(path) for path in paths])}: the score does not depend on it, so there is no gradient; choose a layer on "
        "the way to the output, or switch off activation checkpointing, or a torch.no_grad() in the model itself, around it."
    )


def _listed(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items))


def _now(inputs: Tensor) -> float:
    if inputs.device.type == "cuda":
        torch.cuda.synchronize(inputs.device)
    return time.perf_counter()
