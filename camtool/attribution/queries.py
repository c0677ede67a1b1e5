"""Queries of the network beyond one forward pass: scores of altered activations or inputs, gradients, evidence."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.attribution.context import CallContext
from camtool.attribution.forward_pass import ForwardPass, check_alive, parts
from camtool.errors import NOT_FINITE, MethodError
from camtool.functional import holds_for_some, not_finite, to_float32
from camtool.instrumentation.batching import chunk_size, in_chunks
from camtool.instrumentation.deep_lift import Rescaling
from camtool.instrumentation.differentiation import gradients_of
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import gradient_remark
from camtool.instrumentation.precision import current_autocast
from camtool.instrumentation.replay import Replay
from camtool.layouts import Layout
from camtool.methods._base import Copies, Evidence
from camtool.targets import Output, Target, samples_of, scores, scores_in
from camtool.types import Maps


@dataclass(frozen=True, kw_only=True)
class QueryContext:
    """Settings shared by all queries about one forward pass."""

    call: CallContext
    inputs: Inputs
    logits: Output
    targets: Sequence[Sequence[Target]]
    """n lists of k targets."""
    autocast: Callable[[], AbstractContextManager[Any]]
    """Returns the caller's autocast context, for further passes of the network."""

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.call.model


class QueriesOfInputs:
    """Queries of one method about one target; see `camtool.methods._base.InputQueries`.

    Args:
        method: name of the method.
        path: path of the layer, or "input".
        k: number of the target.
        known_scores: scores of all k targets by query, filled by the first target's queries and shared by the others'; None if
            queries depend on the target.
    """

    def __init__(self, context: QueryContext, *, method: str, path: str, k: int, known_scores: list[Tensor] | None = None) -> None:
        self._context = context
        self._method = method
        self._path = path
        self._k = k
        self._known_scores = known_scores
        self._count = 0
        self.inputs: Tensor = context.inputs.picture.detach()
        self.scores: Tensor = to_float32(scores([row[k] for row in context.targets], context.logits).detach())

    def scores_of_inputs(self, count: int, copies: Copies) -> Float[Tensor, "n count"]:
        """Return the scores of copies of the inputs; MethodError if the network's scores of one depend on those of others."""
        self._check_copies()

        def logits_of(altered: Tensor) -> list[Output]:
            # (copies, n, ...): the other inputs of the network are repeated batch by batch.
            pictures = altered.transpose(0, 1).flatten(0, 1).to(self.inputs.dtype)
            repeated = self._context.inputs.repeated(altered.shape[1]).with_picture(pictures)
            logits = scores_in(repeated.run(self._context.model), batch=len(pictures))
            return [samples_of(logits, slice(sample, None, len(altered))) for sample in range(len(altered))]

        return self._scores(count, copies, logits_of, self.inputs)

    def score_and_gradients(self, inputs: Float[Tensor, "n channels *size"]) -> tuple[Float[Tensor, " n"], Tensor]:
        """Return the scores of other inputs, and their gradients with respect to these inputs."""
        leaf = inputs.detach().to(self.inputs.dtype).clone().requires_grad_()
        with torch.enable_grad(), self._context.autocast():
            logits = scores_in(self._context.inputs.with_picture(leaf).run(self._context.model), batch=len(leaf))
            values = scores([row[self._k] for row in self._context.targets], logits)
            gradients = gradients_of(values.sum(), leaf, allow_unused=True)[0] if values.requires_grad else None
        if gradients is None:
            raise MethodError(
                f"Method '{self._method}' needs the gradient of the score with respect to the input, but the graph does not reach it. Is "
                "part of the model under torch.no_grad()? Use a method that needs scores only, such as 'scorecam'."
                f"{gradient_remark(self._context.model)}"
            )
        return to_float32(values.detach()), to_float32(gradients)

    def scores_as(self, change: Callable[[Target], Target]) -> Float[Tensor, " n"]:
        """Return the scores of the unaltered inputs for the targets that `change` returns for the explained ones."""
        return to_float32(scores([change(row[self._k]) for row in self._context.targets], self._context.logits).detach())

    def report(self, done: int, total: int) -> None:
        """Report the method's progress."""
        if self._context.call.progress is not None:
            self._context.call.progress(f"{self._method} at {self._path}", done, total)

    def _check_copies(self) -> None:
        with self._context.autocast():
            self._context.call.check_copies_of_inputs(self._context.inputs, self._context.logits)

    def _scores(self, count: int, copies: Copies, logits_of: Callable[[Tensor], list[Output]], copy: Tensor) -> Tensor:
        """Return scores (n, count); `logits_of` returns the logits of every sample's copies, `copy` is a single copy of one sample."""
        targets, known, query = self._context.targets, self._known_scores, self._count
        self._count += 1
        if known is not None and len(known) > query:
            return known[query][:, self._k]
        target_numbers = range(len(targets[0])) if known is not None else [self._k]
        values = torch.empty(len(targets), len(target_numbers), count, dtype=self.scores.dtype, device=self.scores.device)

        def run(start: int, stop: int) -> None:
            with torch.no_grad(), self._context.autocast():
                for sample, logits in enumerate(logits_of(copies(start, stop))):
                    for place, k in enumerate(target_numbers):
                        values[sample, place, start:stop] = to_float32(scores([targets[sample][k]] * len(logits), logits))

        in_chunks(count, chunk_size(copy), run, self.report)
        if (broken := not_finite(values)).any():
            raise MethodError(
                f"Method '{self._method}' at layer '{self._path}': scores are NaN or infinite; check the weights and the precision.",
                status=NOT_FINITE,
                of_some=holds_for_some(broken),
            )
        if known is None:
            return values[:, 0]
        known.append(values)
        return values[:, self._k]


class NetworkQueries(QueriesOfInputs):
    """Queries of one method about one target at one layer; see `camtool.methods._base.ModelQueries`.

    Args:
        layout: layout of the layer's output.
        replay: for methods that need scores of other activations.
        others: as of `QueriesOfInputs`.
    """

    def __init__(self, context: QueryContext, *, layout: Layout, replay: Replay | None = None, **others: Any) -> None:
        super().__init__(context, **others)
        self._replay = replay
        self._layout = layout

    def scores_of_activations(self, count: int, copies: Copies) -> Float[Tensor, "n count"]:
        """Return the scores of copies of the layer's activations, from passes of the tail."""
        replay = self._replayed()
        recorded, size, axis = replay.activations, self.inputs.shape[2:], self._layout.batch_axis

        def of_sample(sample: int, maps: Tensor) -> Output:
            tensor = self._layout.from_maps(maps.to(recorded.dtype), recorded.narrow(axis, sample, 1), size)
            return scores_in(replay(sample, tensor), batch=len(maps))

        def logits_of(altered: Tensor) -> list[Output]:
            return [of_sample(sample, maps) for sample, maps in enumerate(altered)]

        return self._scores(count, copies, logits_of, recorded.narrow(axis, 0, 1))

    def evidence_of(self, inputs: Sequence[Float[Tensor, "n channels *size"]], *, gradients: bool = True) -> list[Evidence]:
        """Return the evidence of other inputs at the same layer; MethodError as for copies."""
        self._check_copies()
        with self._context.autocast():
            return _evidence_of(self._context, self._method, self._path, self._k, inputs, gradients=gradients)

    def contributions_from_zero(self) -> Maps:
        """Return each activation's contribution to the score minus that of zero activations, by DeepLIFT's rescale rule."""
        replay, size = self._replayed(), self.inputs.shape[2:]
        by_sample = []
        for sample in range(len(self.inputs)):
            recorded = replay.activations.narrow(self._layout.batch_axis, sample, 1)
            maps = self._layout.to_maps(recorded, size)
            pair = torch.cat([maps, torch.zeros_like(maps)]).requires_grad_()
            with torch.enable_grad(), self._context.autocast():
                # Clone: an in-place layer downstream must not get a leaf.
                tensor = self._layout.from_maps(pair.clone(), recorded, size)
                with Rescaling() as rule:
                    output = replay(sample, tensor)
                logits = scores_in(output, batch=2)
                scored = scores([self._context.targets[sample][self._k]] * 2, logits)
            # Unused behind integer layers, as if the activations contributed nothing.
            (gradients,) = gradients_of(scored, pair, torch.full_like(scored, 0.5), allow_unused=True, materialize_grads=True)
            contributions = to_float32(gradients).sum(dim=0, keepdim=True) * to_float32(maps)
            self._check_complete(contributions, to_float32(scored.detach()), torch.finfo(tensor.dtype).eps, rule.undefined)
            by_sample.append(contributions)
        return torch.cat(by_sample)

    def _check_complete(self, contributions: Tensor, scored: Tensor, eps: float, undefined: AbstractSet[str]) -> None:
        total, expected = contributions.sum(), scored[0] - scored[1]
        # 3e-4 of float32: rounding, not another rule; scores that are mostly a large bias differ by their own rounding.
        if (total - expected).abs() <= eps**0.5 * contributions.abs().sum() + 16 * eps * scored.abs().amax():
            return
        functions = ", ".join(sorted(undefined)) or "the target itself, or a function that is not a torch function"
        raise MethodError(
            f"Method '{self._method}' at layer '{self._path}': the contributions sum to {total:.4g}, but the score is {expected:.4g} above "
            f"that of zero activations. DeepLIFT's rescale rule is not defined for what lies downstream: {functions}. Choose a layer "
            "behind it, or a method that needs scores only, such as 'ablationcam'."
            f"{gradient_remark(self._context.model)}"
        )

    def _replayed(self) -> Replay:
        if self._replay is None:
            raise MethodError(
                f"Method '{self._method}' queries scores of other activations without declaring it; give it needs = Needs(replay=True)."
            )
        self._replay.invalidate()
        return self._replay


def _evidence_of(context: QueryContext, method: str, path: str, k: int, pictures: Sequence[Tensor], *, gradients: bool) -> list[Evidence]:
    """Return the evidence of other pictures (each n, c, *spatial) for the k-th targets at a layer."""
    call, targets, evidence = context.call, context.targets, list[Evidence]()
    n = len(targets)

    def run(start: int, stop: int) -> None:
        batch = torch.cat([picture.to(call.inputs.picture.dtype) for picture in pictures[start:stop]])
        inputs = call.inputs_with(batch)
        with call.capture({path: call.layers[path]}, batch, differentiate=gradients) as capture:
            logits = scores_in(inputs.run(call.model), batch=len(batch))
            captured = {path: capture.activations(path)}
        forward_pass = ForwardPass(call.model, inputs, logits, captured, [[row[k]] for row in targets] * (stop - start))
        if gradients:
            forward_pass.differentiate()
        for part, of_picture in enumerate(parts(forward_pass.evidence(path, 0, alive=False), stop - start)):
            picture = pictures[start + part]
            of_part = QueryContext(
                call=call,
                inputs=call.inputs_with(picture),
                logits=samples_of(logits, slice(part * n, (part + 1) * n)).detach(),
                targets=targets,
                autocast=current_autocast(picture.device.type),
            )
            queries = NetworkQueries(of_part, method=method, path=path, k=k, layout=captured[path][1])
            evidence.append(replace(of_picture, model_queries=queries, placement=call.placements.get(path)))

    progress = call.progress and partial(call.progress, f"{method} at {path}")
    in_chunks(len(pictures), max(chunk_size(pictures[0][:1]) // n, 1), run, progress)
    if gradients:
        # Far from the input every ReLU may be dead; a layer without a gradient for any picture is the wrong one.
        total = torch.stack([of_picture.gradients for of_picture in evidence if of_picture.gradients is not None]).abs().sum(dim=0)
        check_alive(path, [row[k] for row in targets], total)
    return evidence
