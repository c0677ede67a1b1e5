"""Computation of one CAM call: the shared forward pass, further queries of the network, raw and final maps of all methods."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from camtool.attribution.attention import ATTENTION, AttentionMaps
from camtool.attribution.channel_sums import ChannelSums, Kept, owners_of
from camtool.attribution.context import CallContext
from camtool.attribution.costs import announce_costs
from camtool.attribution.forward_pass import Captured, ForwardPass, check_tokens, differentiate_all
from camtool.attribution.input_gradients import InputGradients
from camtool.attribution.queries import NetworkQueries, QueryContext
from camtool.attribution.result import MethodMaps, finished
from camtool.attribution.target_groups import TargetGroup, group_targets
from camtool.errors import NOT_FINITE, CamtoolError, LayerError, MethodError, attribute_errors_to, warn
from camtool.functional import holds_for_some, not_finite
from camtool.instrumentation.attention import AttentionRecorder
from camtool.instrumentation.attention_functions import ExplicitAttention
from camtool.instrumentation.attention_places import AttentionFindings
from camtool.instrumentation.copies import check_samples_in_front
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.precision import current_autocast, without_autocast
from camtool.instrumentation.replay import REPLAYED, Recording, Replay
from camtool.methods import BaseMethod
from camtool.methods._base import Evidence
from camtool.targets import ExplainedOutput, Output, Target, explained_output, of_copies, resolve_targets, samples_of, scores_in


@dataclass
class ForwardRecord:
    """Everything recorded in a finished forward pass."""

    inputs: Inputs
    logits: Output
    captured: Mapping[str, Captured]
    replays: Mapping[str, Replay]
    attention: AttentionMaps | None
    input_gradients: InputGradients


class Computation:
    """The computation of one CAM call: its first forward pass fixes the targets, every further pass (aug-smooth) keeps them."""

    targets: list[list[Target]]
    logits: Output
    output: ExplainedOutput

    def __init__(self, context: CallContext, targets: Any) -> None:
        self._context = context
        self._requested_targets: Any = targets
        self._is_first = True
        self.nested = False
        """Whether targets were given as lists of k per sample."""
        self.attention_layers: list[str] = []
        """Paths of the layers whose attention was read."""
        self.refused: dict[str, CamtoolError] = {}
        """Errors by method that does not fit; only with `skip_unfit`."""
        self.channels = ChannelSums(importances=context.importances, owners=None)
        """What is kept of the channels' contributions, as the context asks for it."""
        self.replays: dict[str, str] = {}
        """By path: how scores of other activations were computed, "replay", or why whole forward passes were made."""
        self.seconds = {"forward": 0.0, "maps": 0.0}

    def explain(self, pictures: Tensor, flipped: Sequence[bool] = (False,)) -> dict[str, MethodMaps]:
        """Return every method's maps of pictures (n, c, *spatial) among the inputs, from one forward pass.

        `pictures` may be several batches of n in a row, some `flipped`; the same targets are explained for each. With `skip_unfit`,
        methods that refuse before any map is computed cost this pass once more.
        """
        while True:
            try:
                return self._explain(pictures, self._context.without(self.refused), flipped)
            except CamtoolError as error:
                if not self._may_skip(error) or self.refused.keys() >= set(error.methods):
                    raise
                self._refuse(error.methods, error)

    def _refuse(self, names: Iterable[str], error: CamtoolError) -> None:
        names = list(names)
        based = [name for name, method in self._context.input_methods.items() if method.base in names]
        self.refused |= dict.fromkeys([*names, *based], error)

    @contextmanager
    def _skip_unfit(self, name: str) -> Iterator[None]:
        """Leave out a method that refuses inside the block if `skip_unfit`; raise its error otherwise."""
        try:
            yield
        except CamtoolError as error:
            if not self._may_skip(error):
                raise
            self._refuse([name], error)

    def _may_skip(self, error: CamtoolError) -> bool:
        """Return whether methods may be left out for an error: not where they have maps of other samples of the batch."""
        return self._context.skip_unfit and not (error.of_some and len(self._context.inputs.picture) > 1)

    def _explain(self, pictures: Tensor, context: CallContext, flipped: Sequence[bool]) -> dict[str, MethodMaps]:
        started = _now(pictures)
        with evaluating(context.model):
            is_first, record = self._is_first, self._forward(pictures, context)
            forwarded = _now(pictures)
            announce_costs(context, record.captured, len(self.targets[0]), (forwarded - started) / len(pictures))
            if is_first:
                self.channels = ChannelSums(importances=context.importances, owners=owners_of(context))
            if len(pictures) > len(context.inputs.picture):  # aug-smooth
                context.check_copies_of_inputs(record.inputs, record.logits)

            def pass_for(targets: list[list[Target]]) -> ForwardPass:
                repeated = of_copies(targets, flipped, pictures.shape[-1])
                return ForwardPass(context.model, record.inputs, record.logits, record.captured, repeated)

            groups = group_targets(context.layer_methods, self.targets, self.logits, self._skip_unfit)
            main = pass_for(self.targets)
            passes = [main if group.targets is self.targets else pass_for(group.targets) for group in groups]
            differentiated = [
                forward_pass
                for forward_pass, group in zip(passes, groups, strict=True)
                if any(map(context.needs_gradients, group.methods.values()))
            ]
            # First, so that attention methods refuse before other methods take long.
            raws = self._differentiate(context, record, main, differentiated)
            autocast = current_autocast(pictures.device.type)
            with without_autocast(pictures.device.type):
                for group, forward_pass in zip(groups, passes, strict=True):
                    queries = self._queries(context, record, forward_pass, autocast)
                    raws |= self._raw_maps(group.methods, forward_pass, record, queries)
            explained = self._finished(raws, groups, passes, pictures.shape[2:])
            explained |= record.input_gradients.maps(explained, self._queries(context, record, main, autocast))
        self._note_replays(record.replays)
        self.seconds["forward"] += forwarded - started
        self.seconds["maps"] += _now(pictures) - forwarded
        return explained

    def _forward(self, pictures: Tensor, context: CallContext) -> ForwardRecord:
        """Run the network once and record everything the methods need; resolve the targets in the first pass."""
        model, inputs, n = context.model, context.inputs_with(pictures), len(context.inputs.picture)
        layer_methods, attention_methods = context.layer_methods.values(), context.attention_methods
        recorded = context.layers if any(method.needs.replay for method in layer_methods) else {}
        recordings = {path: Recording(model, layer, context.layouts.calls.recorded.get(path, 0)) for path, layer in recorded.items()}
        with ExitStack() as stack:
            differentiate = context.needs_whole_graph or any(map(context.needs_gradients, layer_methods))
            capture = stack.enter_context(context.capture(context.layers, pictures, differentiate=differentiate))
            recorder = AttentionRecorder(model, keep_outputs=any(method.needs.layer_gradients for method in attention_methods.values()))
            if attention_methods:
                with attribute_errors_to(attention_methods):
                    stack.enter_context(recorder)
            if any(method.needs.curvature for method in layer_methods):
                stack.enter_context(ExplicitAttention())
            for recording in recordings.values():
                stack.enter_context(recording.recording())
            fit, placements = context.layouts.fit, context.placements
            input_gradients = InputGradients(context.input_methods, model, inputs, fit, placements, check=self._is_first)
            given = stack.enter_context(input_gradients)
            whole = given.run_whole(model)
            output = given.chosen(whole)
            context.layouts.calls.require(capture.counts)
            context.layouts.require_measured()
            logits = scores_in(output, batch=len(pictures))
            if self._is_first:
                self.output = explained_output(whole, len(pictures), inputs.output)
                if self.output.remark:
                    warn(self.output.remark)
                self.logits, self._is_first = samples_of(logits, slice(n)).detach(), False
                self.targets, self.nested = resolve_targets(self._requested_targets, samples_of(logits, slice(n)))
            captured = {path: capture.activations(path) for path in context.layers}
        check_samples_in_front(model, inputs, logits)
        replays = {
            path: Replay(recording, capture.records[path].index, inputs, output, batch_axis=captured[path][1].batch_axis)
            for path, recording in recordings.items()
        }
        attention = None
        if attention_methods:
            with attribute_errors_to(attention_methods):
                findings = AttentionFindings(model, context.inputs, context.progress)
                attention = AttentionMaps(attention_methods, recorder.records, inputs, logits, context.layout, findings)
            self.attention_layers = [layer.path for layer in attention.self_attention.layers]
        return ForwardRecord(inputs, logits, captured, replays, attention, input_gradients)

    def _differentiate(
        self, context: CallContext, record: ForwardRecord, main: ForwardPass, differentiated: Sequence[ForwardPass]
    ) -> dict[str, dict[str, Tensor]]:
        """Compute all derivatives of the forward pass; return the raw maps of attention methods."""
        methods, attention = context.attention_methods, record.attention
        with_gradients = [name for name, method in context.layer_methods.items() if context.needs_gradients(method)]
        with_curvature = [name for name, method in context.layer_methods.items() if method.needs.curvature]
        with attribute_errors_to(with_gradients, LayerError), attribute_errors_to(with_curvature or methods):
            by_target = differentiate_all(
                main,
                differentiated,
                attention.differentiated if attention else [],
                curvature=bool(with_curvature),
                keep_graph=context.needs_whole_graph,
            )
        raws = {}
        if attention:
            with attribute_errors_to(methods):
                gradients = [attention.checked(weight_gradients) for weight_gradients in by_target]
            with attribute_errors_to(name for name, method in methods.items() if method.needs.layer_gradients):
                layer_gradients = attention.layer_gradients(context.model, main.scores())
            with attribute_errors_to(methods), without_autocast(main.inputs.picture.device.type):
                raws = {name: {ATTENTION: raw} for name, raw in attention.raw_maps(gradients, layer_gradients).items()}
        with attribute_errors_to(record.input_gradients.differentiating):
            record.input_gradients.read(main.scores(), record.logits)
        return raws

    @staticmethod
    def _queries(context: CallContext, record: ForwardRecord, forward_pass: ForwardPass, autocast: Callable[[], Any]) -> QueryContext:
        logits, targets = record.logits.detach(), forward_pass.targets
        return QueryContext(call=context, inputs=record.inputs, logits=logits, targets=targets, autocast=autocast)

    def _note_replays(self, replays: Mapping[str, Replay]) -> None:
        for path, replay in replays.items():
            if replay.status not in ("", REPLAYED, self.replays.get(path)):
                warn(f"Layer '{path}': scores of other activations take {replay.status}.")
            self.replays[path] = replay.status

    def _finished(
        self, raws: Mapping[str, dict[str, Tensor]], groups: Sequence[TargetGroup], passes: Sequence[ForwardPass], size: Sequence[int]
    ) -> dict[str, MethodMaps]:
        """Return the final maps of raw ones by method and layer."""
        context = self._context
        importances: dict[str, dict[str, Tensor]] = {}
        for group, forward_pass in zip(groups, passes, strict=True):
            names = [name for name, method in group.methods.items() if context.fusion_of(method).needs_importances]
            if names:
                by_layer = {path: forward_pass.importances(path) for path in context.layers}
                importances |= dict.fromkeys(names, by_layer)
        explained, bases = {}, {method.base for method in context.input_methods.values()}
        for name, raw in raws.items():
            method = context.layer_methods.get(name)
            fusion, placements = context.fusion_of(method), None if method and method.covers_input else context.placements
            explained[name] = finished(raw, size, fusion, importances.get(name), placements, with_factors=name in bases)
        return explained

    def _raw_maps(
        self, methods: Mapping[str, BaseMethod], forward_pass: ForwardPass, record: ForwardRecord, queries: QueryContext
    ) -> dict[str, dict[str, Tensor]]:
        """Return by method and layer the signed raw maps (n, k, *feature)."""
        context, count = self._context, len(self.targets[0])
        raws: dict[str, dict[str, Tensor]] = {name: {} for name in methods}
        for path, (tensor, layout) in record.captured.items():
            for name, method in methods.items():
                with self._skip_unfit(name):
                    check_tokens(name, method, path, tensor, layout)
            with attribute_errors_to((name for name, method in methods.items() if context.needs_gradients(method)), LayerError):
                evidence = [forward_pass.evidence(path, k) for k in range(count if any(map(_by_target, methods.values())) else 1)]
            for name, method in methods.items():
                if name not in self.refused:
                    with self._skip_unfit(name):
                        raw = self._raw_map(name, method, path, evidence, record, queries)
                        raws[name][path] = raw.expand(-1, count, *raw.shape[2:]).contiguous()
        return {name: raw for name, raw in raws.items() if name not in self.refused}

    def _raw_map(
        self, name: str, method: BaseMethod, path: str, evidence: Sequence[Evidence], record: ForwardRecord, queries: QueryContext
    ) -> Tensor:
        """Return a method's raw map at a layer, (n, k, *feature); k = 1 where it is the same for every target."""
        known_scores: list[Tensor] | None = [] if method.needs.same_queries_for_all_targets else None
        layout, replay, maps = record.captured[path][1], record.replays.get(path), []
        kept: list[Kept] | None = [] if self.channels.wanted(method) else None
        for k in range(len(self.targets[0]) if method.class_discriminative else 1):
            model_queries = NetworkQueries(queries, method=name, path=path, k=k, layout=layout, replay=replay, known_scores=known_scores)
            with_queries = replace(evidence[k], model_queries=model_queries, placement=self._context.placements.get(path))
            maps.append(self._map_of(method, path, with_queries, kept))
        raw = torch.stack(maps, dim=1)
        if (broken := not_finite(raw)).any():
            raise MethodError(
                f"Method '{name}' gives NaN or infinite values at layer '{path}'; try another layer or method.",
                status=NOT_FINITE,
                of_some=holds_for_some(broken),
            )
        if kept:
            self.channels.keep(name, path, kept, len(self.targets[0]))
        return raw

    def _map_of(self, method: BaseMethod, path: str, evidence: Evidence, kept: list[Kept] | None) -> Tensor:
        """Return a raw map (n, *feature); append to `kept` what is kept of the channels' contributions, unless it is None."""
        smoothly = self._context.eigen_smooth
        if kept is None:
            return method.eigen_smooth_map(evidence) if smoothly else method.raw_map(evidence)
        contributions = method.contributions(evidence)
        kept.append(self.channels.of(contributions, path))
        return method.collapse_smoothly(contributions) if smoothly else method.collapse(contributions)


def _by_target(method: BaseMethod) -> bool:
    return method.class_discriminative or method.needs.gradients


def _now(inputs: Tensor) -> float:
    if inputs.device.type == "cuda":
        torch.cuda.synchronize(inputs.device)
    return time.perf_counter()
