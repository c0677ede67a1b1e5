"""One call of the engine: forward pass, gradients, layout, methods, and the raw maps they give."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from camtool.attended import ATTENTION, Attended
from camtool.attention import AttentionRecorder
from camtool.capture import Capture, evaluating
from camtool.errors import CamtoolWarning, LayerError, MethodError
from camtool.functional import widened
from camtool.heads import find_linear_head
from camtool.inputs import Inputs
from camtool.layouts import Layout, Tokens
from camtool.methods import AttentionMethod, Method
from camtool.methods._base import Evidence
from camtool.result import MethodMaps, finished
from camtool.targets import Output, Target, find_logits, resolve_targets, scores
from camtool.types import Maps


@dataclass(frozen=True)
class Setting:
    """What is the same for every pass of a call."""

    model: nn.Module
    inputs: Inputs
    layers: Mapping[str, nn.Module]
    """Target layers by path."""
    methods: Mapping[str, Method]
    """Those that read target layers."""
    attention_methods: Mapping[str, AttentionMethod]
    layout: Layout | None
    """As the user gave it."""
    fit: Callable[..., Layout]
    """`fit(tensor, module, batch=…, input_size=…)`: the layout of what a layer gave."""
    aug_smooth: bool
    eigen_smooth: bool


class Call:
    """One call of the engine: its first pass fixes the targets, every further pass (aug-smooth) keeps them."""

    targets: list[list[Target]]
    logits: Output

    def __init__(self, setting: Setting, targets: Any) -> None:
        self._setting = setting
        self._asked: Any = targets
        self._is_first = True
        self.nested = False
        self.attention_layers: list[str] = []
        """Paths of the layers whose attention was read."""
        self.seconds = {"forward": 0.0, "maps": 0.0}

    def explain(self, inputs: Tensor) -> dict[str, MethodMaps]:
        """Return every method's maps for a picture (n, c, *spatial) among the inputs, from one forward pass."""
        setting, model = self._setting, self._setting.model
        given = setting.inputs.with_picture(inputs)
        readers = setting.attention_methods
        # A layer that is cut from the graph would cut the attention before it from the score.
        differentiate = bool(readers) or any(method.needs_gradients for method in setting.methods.values())
        fit = partial(setting.fit, batch=len(inputs), input_size=inputs.shape[2:])
        started = _now(inputs)
        with evaluating(model), ExitStack() as stack:
            capture = stack.enter_context(Capture(setting.layers, fit, differentiate=differentiate))
            recorder = AttentionRecorder(model, keep_outputs=any(method.needs_layer_gradients for method in readers.values()))
            if readers:
                stack.enter_context(recorder)
            logits = find_logits(given.run(model), batch=len(inputs))
            forwarded = _now(inputs)
            if self._is_first:
                self.targets, self.nested = resolve_targets(self._asked, logits)
                self.logits, self._is_first = logits.detach(), False
                _warn_of_calls(capture, setting.aug_smooth)
            captured = {path: capture.activations(path) for path in setting.layers}
            stack.close()  # from here on nothing is recorded
            attended = Attended(readers, recorder.records, given, logits, setting.layout) if readers else None
            gradients, of_attention = self._gradients(logits, captured, attended)
            of_layers = attended.layer_gradients(model, self._scores()) if attended else None
        with torch.autocast(inputs.device.type, enabled=False):  # the arithmetic of maps is float32 or wider, whatever the caller's
            raws = self._raw_maps(inputs, logits.detach(), captured, gradients)
            if attended:
                raws |= {name: {ATTENTION: raw} for name, raw in attended.raw_maps(of_attention, of_layers).items()}
                self.attention_layers = [layer.path for layer in attended.found.layers]
        explained = {name: finished(raw, inputs.shape[2:]) for name, raw in raws.items()}
        self.seconds["forward"] += forwarded - started
        self.seconds["maps"] += _now(inputs) - forwarded
        return explained

    def _scores(self) -> list[Callable[[Output], Tensor]]:
        """Return for each of the k targets what turns the logits of the batch into its scores (n)."""
        return [partial(scores, [row[k] for row in self.targets]) for k in range(len(self.targets[0]))]

    def _gradients(
        self, logits: Output, captured: dict[str, tuple[Tensor, Layout]], attended: Attended | None
    ) -> tuple[list[dict[str, Tensor]] | None, list[list[Tensor]]]:
        """Return for each of the k targets the gradient at each layer, as the layer shaped it, and of the attention wanted."""
        needed = any(method.needs_gradients for method in self._setting.methods.values())
        layers = {path: activations for path, (activations, _) in captured.items()} if needed else {}
        attention = attended.wanted if attended else []
        by_layer: list[dict[str, Tensor]] = []
        of_attention: list[list[Tensor]] = []
        if not layers and not attention:
            return None, of_attention
        for k, scores_of in enumerate(self._scores()):
            with torch.enable_grad():
                score = scores_of(logits).sum()
            found: Sequence[Tensor | None] = [None] * (len(layers) + len(attention))
            if score.requires_grad:
                # What each layer makes of its own tokens is asked for afterwards.
                keep = attended is not None or k < len(self.targets[0]) - 1
                try:
                    found = torch.autograd.grad(score, [*layers.values(), *attention], retain_graph=keep, allow_unused=True)
                except CheckpointError as error:  # what is computed again in the backward pass is the fused kernel
                    raise MethodError(
                        "The network checkpoints its activations, so the attention that is recorded is not what its backward pass sees. "
                        "Switch activation checkpointing off, or use a method of activations, such as 'gradcam'."
                    ) from error
            of_layer = {path: gradient for path, gradient in zip(layers, found, strict=False) if gradient is not None}
            if len(of_layer) < len(layers):
                raise LayerError(_disconnected([path for path in layers if path not in of_layer]))
            by_layer.append(of_layer)
            if attended:
                of_attention.append(attended.checked(found[len(layers) :]))
        return (by_layer if layers else None), of_attention

    def _raw_maps(
        self,
        inputs: Tensor,
        logits: Output,
        captured: dict[str, tuple[Tensor, Layout]],
        gradients: list[dict[str, Tensor]] | None,
    ) -> dict[str, dict[str, Tensor]]:
        """Return by method and layer the signed raw maps (n, k, *feature)."""
        size, methods = inputs.shape[2:], self._setting.methods
        raws: dict[str, dict[str, Tensor]] = {name: {} for name in methods}
        for path, (tensor, layout) in captured.items():
            activations = widened(layout.to_maps(tensor.detach(), size))
            for name, method in methods.items():
                if method.needs_tokens and not isinstance(layout, Tokens):
                    raise MethodError(
                        f"Method '{name}' is defined for tokens; layer '{path}' gives {tuple(tensor.shape)}, which is read as "
                        f"{type(layout).__name__}. Choose a layer of tokens (n, length, c), such as the first norm of the last block."
                    )
            if not activations.isfinite().all():
                raise LayerError(f"Layer '{path}' gives NaN or infinite values on this input; check the weights and the precision.")
            by_target: list[Tensor | None] = [None]
            if gradients is not None:
                by_target = [self._checked(path, k, widened(layout.to_maps(one[path], size))) for k, one in enumerate(gradients)]
            for name, method in methods.items():
                maps = []
                for k, gradient in enumerate(by_target if method.needs_gradients else [None]):
                    maps.extend(self._one_method(method, activations, gradient, logits, k))
                # A class-agnostic map is the same for every target.
                stacked = torch.stack(maps, dim=1)
                raws[name][path] = stacked.expand(-1, len(self.targets[0]), *stacked.shape[2:]).contiguous()
                if not stacked.isfinite().all():
                    raise MethodError(f"Method '{name}' gives NaN or infinite values at layer '{path}'; try another layer or method.")
        return raws

    def _one_method(self, method: Method, activations: Maps, gradient: Maps | None, logits: Output, k: int) -> list[Tensor]:
        targets = [k] if method.needs_gradients or not method.class_discriminative else range(len(self.targets[0]))
        maps = []
        for target in targets:
            class_weights = partial(self._class_weights, activations, logits, target)
            contributions = method.contributions(Evidence(activations, gradient, class_weights))
            maps.append(method.collapse_smoothly(contributions) if self._setting.eigen_smooth else method.collapse(contributions))
        return maps

    def _class_weights(self, activations: Maps, logits: Output, k: int) -> Tensor:
        """Return (n, c): the final linear layer's weights, combined as the target combines the logits."""
        if not isinstance(logits, Tensor):
            raise MethodError("A method of class weights needs scores (n, classes), which a detector does not give; use 'gradcam'.")
        head = find_linear_head(self._setting.model, activations, widened(logits))
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
