"""One call of the engine: the forward pass that all methods share, what they ask beyond it, and the raw maps they give."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from camtool.errors import CamtoolError, CamtoolWarning, MethodError, concerning
from camtool.evidence import Captured, Pass, check_alive, parts
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
    progress: Progress | None
    skip_unfit: bool


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
        self.refused: dict[str, str] = {}
        """By method that does not fit: why. They are left out if the setting says so."""
        self.replays: dict[str, str] = {}
        """By path: how scores of other activations were found, "replay", or why whole forward passes were made."""
        self.seconds = {"forward": 0.0, "maps": 0.0}

    def explain(self, inputs: Tensor) -> dict[str, MethodMaps]:
        """Return every method's maps for a picture (n, c, *spatial) among the inputs, from one forward pass.

        Where methods that refuse are left out, those that do so before any map is made cost that pass once more.
        """
        while True:
            try:
                return self._explain(inputs, self._fitting())
            except MethodError as error:
                if not self._setting.skip_unfit or self.refused.keys() >= set(error.methods):
                    raise
                self._refuse(error.methods, error)

    def _fitting(self) -> Setting:
        """Return the setting without the methods that have refused."""
        setting, refused = self._setting, self.refused
        return replace(
            setting,
            methods={name: one for name, one in setting.methods.items() if name not in refused},
            attention_methods={name: one for name, one in setting.attention_methods.items() if name not in refused},
            input_methods={name: one for name, one in setting.input_methods.items() if name not in refused},
        )

    def _refuse(self, names: Iterable[str], error: CamtoolError) -> None:
        names = list(names)
        based = [name for name, one in self._setting.input_methods.items() if one.base in names]
        self.refused |= dict.fromkeys([*names, *based], str(error))

    @contextmanager
    def _sparing(self, name: str) -> Iterator[None]:
        """Leave out a method that refuses in here, if the setting says so."""
        try:
            yield
        except CamtoolError as error:
            if not self._setting.skip_unfit:
                raise
            self._refuse([name], error)

    def _explain(self, inputs: Tensor, setting: Setting) -> dict[str, MethodMaps]:  # noqa: PLR0915 - one straight road
        model = setting.model
        given = setting.inputs.with_picture(inputs)
        methods, readers = setting.methods.values(), setting.attention_methods
        needs_gradients = any(method.needs_gradients for method in methods)
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
                    self.targets, self.nested = resolve_targets(self._asked, logits)
                    self.logits, self._is_first = logits.detach(), False
                    _warn_of_calls(capture, setting.aug_smooth)
                captured = {path: capture.activations(path) for path in setting.layers}
            # From here on nothing is recorded.
            replays = {path: Replay(one, capture.records[path].index, given, output) for path, one in recordings.items()}
            with concerning(readers):
                attended = Attended(readers, recorder.records, given, logits, setting.layout) if readers else None
            seen = Pass(model, given, logits, captured, self.targets)
            of_attention: list[list[Tensor]] = []
            if needs_gradients or attended:
                wanted = attended.wanted if attended else []
                with concerning([name for name, one in setting.methods.items() if one.needs_curvature] or readers):
                    found = seen.differentiate(layers=needs_gradients, curved=curved, beside=wanted, keep=whole)
                with concerning(readers):
                    of_attention = [attended.checked(one) for one in found] if attended else []
            with concerning(name for name, one in readers.items() if one.needs_layer_gradients):
                of_layers = attended.layer_gradients(model, seen.scores()) if attended else None
            with concerning(setting.input_methods):
                at_input.read(seen.scores(), logits)
            asked = Asked(model, given, logits.detach(), self.targets, self._evidence_of, setting.progress, _callers_autocast(inputs))
            with torch.autocast(inputs.device.type, enabled=False):  # the arithmetic of maps is float32 or wider, whatever the caller's
                raws: dict[str, dict[str, Tensor]] = {}
                if attended:  # first: what these refuse is known before other methods take long
                    with concerning(readers):
                        raws |= {name: {ATTENTION: raw} for name, raw in attended.raw_maps(of_attention, of_layers).items()}
                    self.attention_layers = [layer.path for layer in attended.found.layers]
                raws |= self._raw_maps(setting.methods, seen, captured, replays, asked)
        self._note_replays(replays)
        explained = {name: finished(raw, inputs.shape[2:]) for name, raw in raws.items()}
        explained |= at_input.maps(explained)
        self.seconds["forward"] += forwarded - started
        self.seconds["maps"] += _now(inputs) - forwarded
        return explained

    def _note_replays(self, replays: Mapping[str, Replay]) -> None:
        for path, replay in replays.items():
            if replay.words not in ("", REPLAYED, self.replays.get(path)):
                warnings.warn(f"Layer '{path}': scores of other activations take {replay.words}.", CamtoolWarning, stacklevel=2)
            self.replays[path] = replay.words

    def _capturing(self, layers: Mapping[str, nn.Module], pictures: Tensor, *, differentiate: bool) -> Capture:
        fit = partial(self._setting.fit, batch=len(pictures), input_size=pictures.shape[2:])
        return Capture(layers, fit, differentiate=differentiate)

    def _raw_maps(
        self, methods: Mapping[str, Method], seen: Pass, captured: Mapping[str, Captured], replays: Mapping[str, Replay], asked: Asked
    ) -> dict[str, dict[str, Tensor]]:
        """Return by method and layer the signed raw maps (n, k, *feature)."""
        count = len(self.targets[0])
        raws: dict[str, dict[str, Tensor]] = {name: {} for name in methods}
        for path, (tensor, layout) in captured.items():
            for name, method in methods.items():
                with self._sparing(name):
                    if method.needs_tokens and not isinstance(layout, Tokens):
                        raise MethodError(
                            f"Method '{name}' is defined for tokens; layer '{path}' gives {tuple(tensor.shape)}, which is read as "
                            f"{type(layout).__name__}. Choose a layer of tokens (n, length, c), such as the first norm of the last block."
                        )
            by_target = [seen.evidence(path, k) for k in range(count if any(_by_target(one) for one in methods.values()) else 1)]
            for name, method in methods.items():
                if name in self.refused:
                    continue
                remembered: list[Tensor] | None = [] if method.asks_alike else None
                maps = []
                with self._sparing(name):
                    for k in range(count if method.class_discriminative else 1):  # a class-agnostic map is the same for every target
                        inquiry = NetworkInquiry(asked, name, path, k, layout, replays.get(path), remembered)
                        evidence = replace(by_target[k], inquiry=inquiry)
                        maps.append(method.eigen_smooth_map(evidence) if self._setting.eigen_smooth else method.raw_map(evidence))
                    stacked = torch.stack(maps, dim=1)
                    raws[name][path] = stacked.expand(-1, count, *stacked.shape[2:]).contiguous()
                    if not stacked.isfinite().all():
                        raise MethodError(f"Method '{name}' gives NaN or infinite values at layer '{path}'; try another layer or method.")
        return {name: raw for name, raw in raws.items() if name not in self.refused}

    def _evidence_of(self, path: str, k: int, pictures: Sequence[Tensor]) -> list[Evidence]:
        """Return the evidence, gradients included, of other pictures (each n, c, *spatial) for the k-th targets at a layer."""
        setting, evidence = self._setting, list[Evidence]()
        targets = [[row[k]] for row in self.targets]

        def run(start: int, stop: int) -> None:
            together = torch.cat([picture.to(setting.inputs.picture.dtype) for picture in pictures[start:stop]])
            given = setting.inputs.repeated(stop - start).with_picture(together)
            with self._capturing({path: setting.layers[path]}, together, differentiate=True) as capture:
                logits = find_logits(given.run(setting.model), batch=len(together))
                captured = {path: capture.activations(path)}
            seen = Pass(setting.model, given, logits, captured, targets * (stop - start))
            seen.differentiate()
            for part, one in enumerate(parts(seen.evidence(path, 0, alive=False), stop - start)):
                picture = pictures[start + part]
                asked = Asked(
                    setting.model,
                    setting.inputs.with_picture(picture),
                    samples_of(logits, slice(part * len(targets), (part + 1) * len(targets))).detach(),
                    self.targets,
                    self._evidence_of,
                    setting.progress,
                    _callers_autocast(picture),
                )
                layout = captured[path][1]
                evidence.append(replace(one, inquiry=NetworkInquiry(asked, "evidence of other inputs", path, k, layout, None, None)))

        in_chunks(len(pictures), chunk_size(setting.inputs.picture), run)
        # Far from the input every ReLU may be dead; a layer that no picture has a gradient at is the wrong one.
        of_all = torch.stack([one.gradients for one in evidence if one.gradients is not None]).abs().sum(dim=0)
        check_alive(path, [row[k] for row in self.targets], of_all)
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
                stacklevel=6 if aug_smooth else 5,  # the caller of CAM
            )


def _now(inputs: Tensor) -> float:
    if inputs.device.type == "cuda":
        torch.cuda.synchronize(inputs.device)
    return time.perf_counter()
