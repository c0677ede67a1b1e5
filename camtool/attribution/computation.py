"""One call of the engine: the forward pass that all methods share, what they ask beyond it, and the raw maps they give."""

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from camtool.attribution.attention import ATTENTION, AttentionMaps
from camtool.attribution.context import CallContext
from camtool.attribution.forward_pass import Captured, ForwardPass
from camtool.attribution.further import FurtherPasses, callers_autocast
from camtool.attribution.input_gradients import InputGradients
from camtool.attribution.queries import NetworkQueries, QueryContext
from camtool.attribution.result import MethodMaps, finished
from camtool.errors import CamtoolError, CamtoolWarning, LayerError, MethodError, attribute_errors_to
from camtool.instrumentation.activations import Capture
from camtool.instrumentation.attention import AttentionRecorder
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.replay import REPLAYED, Recording, Replay
from camtool.layouts import Tokens
from camtool.methods import Method
from camtool.targets import Output, Target, find_logits, of_copies, resolve_targets, samples_of


@dataclass
class TargetGroup:
    """Targets, n lists of k, and the methods that explain them."""

    targets: list[list[Target]]
    methods: dict[str, Method]


@dataclass
class ForwardRecord:
    """What a forward pass leaves when nothing of it is recorded any more."""

    given: Inputs
    logits: Output
    captured: Mapping[str, Captured]
    replays: Mapping[str, Replay]
    attended: AttentionMaps | None
    at_input: InputGradients


class Computation:
    """One call of the engine: its first pass fixes the targets, every further pass (aug-smooth) keeps them."""

    targets: list[list[Target]]
    logits: Output

    def __init__(self, setting: CallContext, targets: Any) -> None:
        self._setting = setting
        self._asked: Any = targets
        self._is_first = True
        self.nested = False
        self.attention_layers: list[str] = []
        """Paths of the layers whose attention was read."""
        self.refused: dict[str, str] = {}
        """By method that does not fit: why. They are left out if the setting says so."""
        self.replays: dict[str, str] = {}
        """By path: how scores of other activations were found, "replay", or why whole forward passes were made."""
        self.seconds = {"forward": 0.0, "maps": 0.0}

    def explain(self, inputs: Tensor, flipped: Sequence[bool] = (False,)) -> dict[str, MethodMaps]:
        """Return every method's maps for a picture (n, c, *spatial) among the inputs, from one forward pass.

        `inputs` may be several batches of n, one behind the other, some `flipped`: of each the same targets are explained. Where methods
        that refuse are left out, those that do so before any map is made cost that pass once more.
        """
        while True:
            try:
                return self._explain(inputs, self._setting.without(self.refused), flipped)
            except CamtoolError as error:
                if not self._setting.skip_unfit or self.refused.keys() >= set(error.methods):
                    raise
                self._refuse(error.methods, error)

    def _refuse(self, names: Iterable[str], error: CamtoolError) -> None:
        names = list(names)
        based = [name for name, one in self._setting.input_methods.items() if one.base in names]
        self.refused |= dict.fromkeys([*names, *based], str(error))

    @contextmanager
    def _skip_unfit(self, name: str) -> Iterator[None]:
        """Leave out a method that refuses in here, if the setting says so."""
        try:
            yield
        except CamtoolError as error:
            if not self._setting.skip_unfit:
                raise
            self._refuse([name], error)

    def _explain(self, inputs: Tensor, setting: CallContext, flipped: Sequence[bool]) -> dict[str, MethodMaps]:
        started = _now(inputs)
        with evaluating(setting.model):
            forward = self._forward(inputs, setting)
            forwarded = _now(inputs)

            def pass_for(targets: list[list[Target]]) -> ForwardPass:
                aimed = of_copies(targets, flipped, inputs.shape[-1])
                return ForwardPass(setting.model, forward.given, forward.logits, forward.captured, aimed)

            aims, seen = self._find_aims(setting), pass_for(self.targets)
            passes = [seen if aim.targets is self.targets else pass_for(aim.targets) for aim in aims]
            wanting = [one for one, aim in zip(passes, aims, strict=True) if any(map(setting.needs_gradients, aim.methods.values()))]
            # First: what methods of attention refuse is known before others take long.
            raws = self._differentiate(setting, forward, seen, wanting)
            asked = partial(
                QueryContext,
                setting.model,
                forward.given,
                forward.logits.detach(),
                progress=setting.progress,
                autocast=callers_autocast(inputs),
            )
            further = FurtherPasses(setting)
            with _own_precision(inputs):
                for aim, one in zip(aims, passes, strict=True):
                    asking = asked(targets=one.targets, evidence_of=partial(further.evidence_of, one.targets))
                    raws |= self._raw_maps(aim.methods, one, forward, asking)
        self._note_replays(forward.replays)
        explained = self._finished(raws, aims, passes, inputs.shape[2:])
        explained |= forward.at_input.maps(explained)
        self.seconds = {"forward": self.seconds["forward"] + forwarded - started, "maps": self.seconds["maps"] + _now(inputs) - forwarded}
        return explained

    def _forward(self, inputs: Tensor, setting: CallContext) -> ForwardRecord:
        """Run the network once, with all recorded that the methods need; the first time, find the targets."""
        model, given, n = setting.model, setting.given(inputs), len(setting.inputs.picture)
        methods, readers = setting.methods.values(), setting.attention_methods
        recorded = setting.layers if any(method.replays for method in methods) else {}
        recordings = {path: Recording(model, layer) for path, layer in recorded.items()}
        with ExitStack() as stack:
            differentiate = setting.keeps_graph or any(map(setting.needs_gradients, methods))
            capture = setting.capturing(setting.layers, inputs, differentiate=differentiate)
            stack.enter_context(capture)
            recorder = AttentionRecorder(model, keep_outputs=any(method.needs_layer_gradients for method in readers.values()))
            if readers:
                stack.enter_context(recorder)
            if any(method.needs_curvature for method in methods):  # the fused kernels have no second derivative
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            for recording in recordings.values():
                stack.enter_context(recording.recording())
            at_input = InputGradients(setting.input_methods, model, given, setting.fit, check=self._is_first)
            output = stack.enter_context(at_input).run(model)
            logits = find_logits(output, batch=len(inputs))
            if self._is_first:
                self.logits, self._is_first = samples_of(logits, slice(n)).detach(), False
                self.targets, self.nested = resolve_targets(self._asked, samples_of(logits, slice(n)))
                _warn_of_calls(capture, setting.aug_smooth)
            captured = {path: capture.activations(path) for path in setting.layers}
        replays = {path: Replay(one, capture.records[path].index, given, output) for path, one in recordings.items()}
        with attribute_errors_to(readers):
            attended = AttentionMaps(readers, recorder.records, given, logits, setting.layout) if readers else None
        if attended:
            self.attention_layers = [layer.path for layer in attended.found.layers]
        return ForwardRecord(given, logits, captured, replays, attended, at_input)

    def _differentiate(
        self, setting: CallContext, forward: ForwardRecord, seen: ForwardPass, wanting: Sequence[ForwardPass]
    ) -> dict[str, dict[str, Tensor]]:
        """Take all derivatives of the forward pass; return the raw maps of attention, which are made of them."""
        readers, attended = setting.attention_methods, forward.attended
        takers = [name for name, method in setting.methods.items() if setting.needs_gradients(method)]
        of_curvature = [name for name, method in setting.methods.items() if method.needs_curvature]
        beside = attended.wanted if attended else []
        with attribute_errors_to(takers, LayerError), attribute_errors_to(of_curvature or readers):
            found = _differentiated(seen, wanting, beside, curved=bool(of_curvature), keep=setting.keeps_graph)
        raws = {}
        if attended:
            with attribute_errors_to(readers):
                of_attention = [attended.checked(one) for one in found]
            with attribute_errors_to(name for name, one in readers.items() if one.needs_layer_gradients):
                of_layers = attended.layer_gradients(setting.model, seen.scores())
            with attribute_errors_to(readers), _own_precision(seen.inputs.picture):
                raws = {name: {ATTENTION: raw} for name, raw in attended.raw_maps(of_attention, of_layers).items()}
        with attribute_errors_to(setting.input_methods):
            forward.at_input.read(seen.scores(), forward.logits)
        return raws

    def _note_replays(self, replays: Mapping[str, Replay]) -> None:
        for path, replay in replays.items():
            if replay.status not in ("", REPLAYED, self.replays.get(path)):
                warnings.warn(f"Layer '{path}': scores of other activations take {replay.status}.", CamtoolWarning, stacklevel=2)
            self.replays[path] = replay.status

    def _find_aims(self, setting: CallContext) -> list[TargetGroup]:
        """Return what the methods of target layers explain: the targets asked for, or what a method makes of them."""
        aims: list[TargetGroup] = []
        for name, method in setting.methods.items():
            wanted: list[list[Target]] = []
            with self._skip_unfit(name):
                wanted = [[method.target(target) for target in row] for row in self.targets]
            if not wanted:
                continue
            is_own = all(one is own for ones, owns in zip(wanted, self.targets, strict=True) for one, own in zip(ones, owns, strict=True))
            targets = self.targets if is_own else resolve_targets(wanted, self.logits)[0]
            aim = next((aim for aim in aims if aim.targets == targets), None)
            if aim is None:
                aim = TargetGroup(targets, {})
                aims.append(aim)
            aim.methods[name] = method
        return aims

    def _finished(
        self, raws: Mapping[str, dict[str, Tensor]], aims: Sequence[TargetGroup], passes: Sequence[ForwardPass], size: Sequence[int]
    ) -> dict[str, MethodMaps]:
        """Return the final maps of raw ones by method and layer."""
        explained = {}
        importances: dict[str, dict[str, Tensor]] = {}
        for aim, seen in zip(aims, passes, strict=True):
            weighing = [name for name, method in aim.methods.items() if self._setting.fusion_of(method).needs_importances]
            found = {path: seen.importances(path) for path in self._setting.layers} if weighing else {}
            importances |= dict.fromkeys(weighing, found)
        for name, raw in raws.items():
            method = self._setting.methods.get(name)
            explained[name] = finished(raw, size, None if method is None else self._setting.fusion_of(method), importances.get(name))
        return explained

    def _raw_maps(
        self, methods: Mapping[str, Method], seen: ForwardPass, forward: ForwardRecord, asked: QueryContext
    ) -> dict[str, dict[str, Tensor]]:
        """Return by method and layer the signed raw maps (n, k, *feature)."""
        count = len(self.targets[0])
        raws: dict[str, dict[str, Tensor]] = {name: {} for name in methods}
        for path, (tensor, layout) in forward.captured.items():
            for name, method in methods.items():
                with self._skip_unfit(name):
                    if method.needs_tokens and not isinstance(layout, Tokens):
                        raise MethodError(
                            f"Method '{name}' is defined for tokens; layer '{path}' gives {tuple(tensor.shape)}, which is read as "
                            f"{type(layout).__name__}. Choose a layer of tokens (n, length, c), such as the first norm of the last block."
                        )
            with attribute_errors_to((name for name, one in methods.items() if self._setting.needs_gradients(one)), LayerError):
                by_target = [seen.evidence(path, k) for k in range(count if any(_by_target(one) for one in methods.values()) else 1)]
            for name, method in methods.items():
                if name in self.refused:
                    continue
                remembered: list[Tensor] | None = [] if method.asks_alike else None
                maps = []
                with self._skip_unfit(name):
                    for k in range(count if method.class_discriminative else 1):  # a class-agnostic map is the same for every target
                        queries = NetworkQueries(asked, name, path, k, layout, forward.replays.get(path), remembered)
                        evidence = replace(by_target[k], model_queries=queries)
                        maps.append(method.eigen_smooth_map(evidence) if self._setting.eigen_smooth else method.raw_map(evidence))
                    stacked = torch.stack(maps, dim=1)
                    raws[name][path] = stacked.expand(-1, count, *stacked.shape[2:]).contiguous()
                    if not stacked.isfinite().all():
                        raise MethodError(f"Method '{name}' gives NaN or infinite values at layer '{path}'; try another layer or method.")
        return {name: raw for name, raw in raws.items() if name not in self.refused}


def _differentiated(
    seen: ForwardPass, wanting: Sequence[ForwardPass], beside: Sequence[Tensor], *, curved: bool, keep: bool
) -> list[list[Tensor | None]]:
    """Take the derivatives of the passes that want them; return those of the first with respect to `beside`, by target."""
    others = [one for one in wanting if one is not seen]
    found: list[list[Tensor | None]] = []
    if seen in wanting or beside:
        found = seen.differentiate(layers=seen in wanting, curved=curved, beside=beside, keep=keep or bool(others))
    for one in others:
        one.differentiate(curved=curved, keep=keep or one is not others[-1])
    return found


def _own_precision(inputs: Tensor) -> AbstractContextManager[Any]:
    """Return what makes the arithmetic of maps float32 or wider, whatever the caller's autocast."""
    return torch.autocast(inputs.device.type, enabled=False)


def _by_target(method: Method) -> bool:
    return method.class_discriminative or method.needs_gradients


def _warn_of_calls(capture: Capture, aug_smooth: bool) -> None:
    for path, record in capture.records.items():
        if record.calls > 1:
            warnings.warn(
                f"Layer '{path}' is called {record.calls} times in a forward pass; its first call is explained.",
                CamtoolWarning,
                stacklevel=9 if aug_smooth else 6,  # the caller of CAM
            )


def _now(inputs: Tensor) -> float:
    if inputs.device.type == "cuda":
        torch.cuda.synchronize(inputs.device)
    return time.perf_counter()
