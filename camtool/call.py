"""One call of the engine: the forward pass that all methods share, what they ask beyond it, and the raw maps they give."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from camtool.attended import ATTENTION, Attended
from camtool.attention import AttentionRecorder
from camtool.capture import Capture, evaluating
from camtool.chunks import Progress, chunk_size, in_chunks
from camtool.errors import CamtoolWarning, MethodError
from camtool.evidence import Captured, Pass, check_alive, parts
from camtool.fusion import Fusion
from camtool.input_gradients import InputGradients
from camtool.inputs import Inputs
from camtool.inquiry import Asked, NetworkInquiry
from camtool.layouts import Layout, Tokens
from camtool.methods import AttentionMethod, InputMethod, Method
from camtool.methods._base import Evidence
from camtool.replay import REPLAYED, Recording, Replay
from camtool.result import MethodMaps, finished
from camtool.targets import Output, Target, find_logits, resolve_targets, samples_of


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


@dataclass
class Aim:
    """Targets, n lists of k, and the methods that explain them."""

    targets: list[list[Target]]
    methods: dict[str, Method]
    needs_gradients: bool = False


class Call:
    """One call of the engine: its first pass fixes the targets, every further pass (aug-smooth) keeps them."""

    targets: list[list[Target]]
    logits: Output

    def __init__(self, setting: Setting, targets: Any) -> None:
        self._setting = setting
        self._asked: Any = targets
        self._is_first = True
        self._aims: list[Aim] = []
        self.nested = False
        self.attention_layers: list[str] = []
        """Paths of the layers whose attention was read."""
        self.replays: dict[str, str] = {}
        """By path: how scores of other activations were found, "replay", or why whole forward passes were made."""
        self.seconds = {"forward": 0.0, "maps": 0.0}

    def explain(self, inputs: Tensor) -> dict[str, MethodMaps]:
        """Return every method's maps for a picture (n, c, *spatial) among the inputs, from one forward pass.

        `inputs` may be several batches of n, one behind the other: of each the same targets are explained.
        """
        setting, model = self._setting, self._setting.model
        given, n = self._given(inputs), len(setting.inputs.picture)
        methods, readers = setting.methods.values(), setting.attention_methods
        needs_gradients = any(map(self._needs_gradients, methods))
        curved = any(method.needs_curvature for method in methods)
        recorded = setting.layers if any(method.replays for method in methods) else {}
        recordings = {path: Recording(model, layer) for path, layer in recorded.items()}
        started = _now(inputs)
        with evaluating(model):
            with ExitStack() as stack:
                # A layer that is cut from the graph would cut the attention before it, and the input, from the score.
                whole = bool(readers or setting.input_methods)
                capture = self._capturing(setting.layers, inputs, differentiate=whole or needs_gradients)
                stack.enter_context(capture)
                recorder = AttentionRecorder(model, keep_outputs=any(method.needs_layer_gradients for method in readers.values()))
                if readers:
                    stack.enter_context(recorder)
                if curved:  # the fused kernels have no second derivative
                    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                for recording in recordings.values():
                    stack.enter_context(recording.recording())
                at_input = InputGradients(setting.input_methods, model, given, setting.fit, check=self._is_first)
                output = stack.enter_context(at_input).run(model)
                logits = find_logits(output, batch=len(inputs))
                forwarded = _now(inputs)
                if self._is_first:
                    self.logits, self._is_first = samples_of(logits, slice(n)).detach(), False
                    self.targets, self.nested = resolve_targets(self._asked, samples_of(logits, slice(n)))
                    self._aims = self._find_aims(self.logits)
                    _warn_of_calls(capture, setting.aug_smooth)
                captured = {path: capture.activations(path) for path in setting.layers}
            # From here on nothing is recorded.
            replays = {path: Replay(one, capture.records[path].index, given, output) for path, one in recordings.items()}
            attended = Attended(readers, recorder.records, given, logits, setting.layout) if readers else None
            copies = len(inputs) // n
            seen = Pass(model, given, logits, captured, self.targets * copies)
            passes = [
                seen if aim.targets is self.targets else Pass(model, given, logits, captured, aim.targets * copies) for aim in self._aims
            ]
            of_attention = self._differentiate(seen, passes, attended, curved=curved, keep=whole)
            of_layers = attended.layer_gradients(model, seen.scores()) if attended else None
            at_input.read(seen.scores(), logits)
            shared = partial(Asked, model, given, logits.detach(), progress=setting.progress, autocast=_callers_autocast(inputs))
            with torch.autocast(inputs.device.type, enabled=False):  # the arithmetic of maps is float32 or wider, whatever the caller's
                raws: dict[str, dict[str, Tensor]] = {}
                for aim, one in zip(self._aims, passes, strict=True):
                    asked = shared(targets=one.targets, evidence_of=partial(self._evidence_of, aim.targets))
                    raws |= self._raw_maps(aim.methods, one, captured, replays, asked)
                if attended:
                    raws |= {name: {ATTENTION: raw} for name, raw in attended.raw_maps(of_attention, of_layers).items()}
                    self.attention_layers = [layer.path for layer in attended.found.layers]
        self._note_replays(replays)
        explained = self._finished(raws, passes, inputs.shape[2:])
        explained |= at_input.maps(explained)
        self.seconds = {"forward": self.seconds["forward"] + forwarded - started, "maps": self.seconds["maps"] + _now(inputs) - forwarded}
        return explained

    def _note_replays(self, replays: Mapping[str, Replay]) -> None:
        for path, replay in replays.items():
            if replay.words not in ("", REPLAYED, self.replays.get(path)):
                warnings.warn(f"Layer '{path}': scores of other activations take {replay.words}.", CamtoolWarning, stacklevel=2)
            self.replays[path] = replay.words

    def _given(self, pictures: Tensor) -> Inputs:
        """Return the inputs with other pictures, repeated where these are several batches."""
        inputs = self._setting.inputs
        return inputs.repeated(len(pictures) // len(inputs.picture)).with_picture(pictures)

    def _capturing(self, layers: Mapping[str, nn.Module], pictures: Tensor, *, differentiate: bool) -> Capture:
        fit = partial(self._setting.fit, batch=len(pictures), input_size=pictures.shape[2:])
        return Capture(layers, fit, differentiate=differentiate)

    def _find_aims(self, logits: Output) -> list[Aim]:
        """Return what the methods of target layers explain: the targets asked for, or what a method makes of them."""
        aims: list[Aim] = []
        for name, method in self._setting.methods.items():
            wanted = [[method.target(target) for target in row] for row in self.targets]
            is_own = all(one is own for ones, owns in zip(wanted, self.targets, strict=True) for one, own in zip(ones, owns, strict=True))
            targets = self.targets if is_own else resolve_targets(wanted, logits)[0]
            aim = next((aim for aim in aims if aim.targets == targets), None)
            if aim is None:
                aim = Aim(targets, {})
                aims.append(aim)
            aim.methods[name] = method
            aim.needs_gradients |= self._needs_gradients(method)
        return aims

    def _fusion(self, method: Method) -> Fusion:
        return method.fusion or self._setting.fusion

    def _needs_gradients(self, method: Method) -> bool:
        return method.needs_gradients or self._fusion(method).needs_importances

    def _finished(self, raws: Mapping[str, dict[str, Tensor]], passes: Sequence[Pass], size: Sequence[int]) -> dict[str, MethodMaps]:
        """Return the final maps of raw ones by method and layer."""
        explained = {}
        importances: dict[str, dict[str, Tensor]] = {}
        for aim, seen in zip(self._aims, passes, strict=True):
            weighing = [name for name, method in aim.methods.items() if self._fusion(method).needs_importances]
            found = {path: seen.importances(path) for path in self._setting.layers} if weighing else {}
            importances |= dict.fromkeys(weighing, found)
        for name, raw in raws.items():
            method = self._setting.methods.get(name)
            explained[name] = finished(raw, size, None if method is None else self._fusion(method), importances.get(name))
        return explained

    def _differentiate(
        self, seen: Pass, passes: Sequence[Pass], attended: Attended | None, *, curved: bool, keep: bool
    ) -> list[list[Tensor]]:
        """Take the derivatives that methods need, of every aim; return those at the attention, by target."""
        differentiated = [one for one, aim in zip(passes, self._aims, strict=True) if aim.needs_gradients]
        others = [one for one in differentiated if one is not seen]
        of_attention: list[list[Tensor]] = []
        if seen in differentiated or attended:
            wanted = attended.wanted if attended else []
            found = seen.differentiate(layers=seen in differentiated, curved=curved, beside=wanted, keep=keep or bool(others))
            of_attention = [attended.checked(one) for one in found] if attended else []
        for one in others:
            one.differentiate(curved=curved, keep=keep or one is not others[-1])
        return of_attention

    def _raw_maps(
        self, methods: Mapping[str, Method], seen: Pass, captured: Mapping[str, Captured], replays: Mapping[str, Replay], asked: Asked
    ) -> dict[str, dict[str, Tensor]]:
        """Return by method and layer the signed raw maps (n, k, *feature)."""
        count = len(self.targets[0])
        raws: dict[str, dict[str, Tensor]] = {name: {} for name in methods}
        for path, (tensor, layout) in captured.items():
            for name, method in methods.items():
                if method.needs_tokens and not isinstance(layout, Tokens):
                    raise MethodError(
                        f"Method '{name}' is defined for tokens; layer '{path}' gives {tuple(tensor.shape)}, which is read as "
                        f"{type(layout).__name__}. Choose a layer of tokens (n, length, c), such as the first norm of the last block."
                    )
            by_target = [seen.evidence(path, k) for k in range(count if any(_by_target(one) for one in methods.values()) else 1)]
            for name, method in methods.items():
                remembered: list[Tensor] | None = [] if method.asks_alike else None
                maps = []
                for k in range(count if method.class_discriminative else 1):  # a class-agnostic map is the same for every target
                    inquiry = NetworkInquiry(asked, name, path, k, layout, replays.get(path), remembered)
                    evidence = replace(by_target[k], inquiry=inquiry)
                    maps.append(method.eigen_smooth_map(evidence) if self._setting.eigen_smooth else method.raw_map(evidence))
                stacked = torch.stack(maps, dim=1)
                raws[name][path] = stacked.expand(-1, count, *stacked.shape[2:]).contiguous()
                if not stacked.isfinite().all():
                    raise MethodError(f"Method '{name}' gives NaN or infinite values at layer '{path}'; try another layer or method.")
        return raws

    def _evidence_of(self, aimed: list[list[Target]], path: str, k: int, pictures: Sequence[Tensor]) -> list[Evidence]:
        """Return the evidence, gradients included, of other pictures (each n, c, *spatial) for the k-th targets at a layer."""
        setting, evidence = self._setting, list[Evidence]()
        n = len(pictures[0])
        targets = aimed * (n // len(aimed))

        def run(start: int, stop: int) -> None:
            together = torch.cat([picture.to(setting.inputs.picture.dtype) for picture in pictures[start:stop]])
            given = self._given(together)
            with self._capturing({path: setting.layers[path]}, together, differentiate=True) as capture:
                logits = find_logits(given.run(setting.model), batch=len(together))
                captured = {path: capture.activations(path)}
            seen = Pass(setting.model, given, logits, captured, [[row[k]] for row in targets] * (stop - start))
            seen.differentiate()
            for part, one in enumerate(parts(seen.evidence(path, 0, alive=False), stop - start)):
                picture = pictures[start + part]
                asked = Asked(
                    setting.model,
                    self._given(picture),
                    samples_of(logits, slice(part * n, (part + 1) * n)).detach(),
                    targets,
                    partial(self._evidence_of, aimed),
                    setting.progress,
                    _callers_autocast(picture),
                )
                layout = captured[path][1]
                evidence.append(replace(one, inquiry=NetworkInquiry(asked, "evidence of other inputs", path, k, layout, None, None)))

        in_chunks(len(pictures), max(chunk_size(pictures[0][:1]) // n, 1), run)
        # Far from the input every ReLU may be dead; a layer that no picture has a gradient at is the wrong one.
        of_all = torch.stack([one.gradients for one in evidence if one.gradients is not None]).abs().sum(dim=0)
        check_alive(path, [row[k] for row in targets], of_all)
        return evidence


def _by_target(method: Method) -> bool:
    return method.class_discriminative or method.needs_gradients


def _callers_autocast(inputs: Tensor) -> Callable[[], Any]:
    """Return what restores the caller's autocast around further passes of the network."""
    kind = inputs.device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return partial(torch.autocast, kind, dtype=dtype, enabled=enabled)


def _warn_of_calls(capture: Capture, aug_smooth: bool) -> None:
    for path, record in capture.records.items():
        if record.calls > 1:
            warnings.warn(
                f"Layer '{path}' is called {record.calls} times in a forward pass; its first call is explained.",
                CamtoolWarning,
                stacklevel=7 if aug_smooth else 4,  # the caller of CAM
            )


def _now(inputs: Tensor) -> float:
    if inputs.device.type == "cuda":
        torch.cuda.synchronize(inputs.device)
    return time.perf_counter()
