"""ModelQueries: what methods ask of the network beyond one forward pass: scores of altered activations or inputs, gradients, evidence."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import MethodError
from camtool.functional import to_float32
from camtool.instrumentation.batching import Progress, chunk_size, in_chunks
from camtool.instrumentation.deep_lift import Rescaling
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.replay import Replay
from camtool.layouts import Layout
from camtool.methods._base import Copies, Evidence
from camtool.targets import Output, Target, find_logits, samples_of, scores
from camtool.types import Maps


@dataclass(frozen=True)
class QueryContext:
    """What all queries of one forward pass share."""

    model: nn.Module
    inputs: Inputs
    logits: Output
    targets: Sequence[Sequence[Target]]
    """n lists of k."""
    evidence_of: Callable[..., list[Evidence]]
    """`evidence_of(method, path, k, pictures, gradients=…)`."""
    progress: Progress | None
    autocast: Callable[[], AbstractContextManager[Any]]
    """The caller's, for further passes of the network."""


class NetworkQueries:
    """What one method asks about one target at one layer; see `camtool.methods._base.ModelQueries`.

    Args:
        remembered: scores of all k targets by question, where the questions are the same for every target; None: where they are not.
    """

    def __init__(
        self, asked: QueryContext, method: str, path: str, k: int, layout: Layout, replay: Replay | None, remembered: list[Tensor] | None
    ) -> None:
        self._asked = asked
        self._method = method
        self._path = path
        self._k = k
        self._replay = replay
        self._layout = layout
        self._remembered = remembered
        self._questions = 0
        self.inputs: Tensor = asked.inputs.picture.detach()
        self.scores: Tensor = to_float32(scores([row[k] for row in asked.targets], asked.logits).detach())

    def scores_of_activations(self, count: int, copies: Copies) -> Float[Tensor, "n count"]:
        """Return the scores of copies of the layer's activations, from the layer on."""
        replay = self._replayed()
        given, size = replay.given, self.inputs.shape[2:]

        def of_sample(sample: int, maps: Tensor) -> Output:
            tensor = self._layout.from_maps(maps.to(given.dtype), given[sample : sample + 1], size)
            return find_logits(replay(sample, tensor), batch=len(maps))

        def logits_of(altered: Tensor) -> list[Output]:
            return [of_sample(sample, maps) for sample, maps in enumerate(altered)]

        return self._scores(count, copies, logits_of, given[:1])

    def scores_of_inputs(self, count: int, copies: Copies) -> Float[Tensor, "n count"]:
        """Return the scores of copies of the inputs."""

        def logits_of(altered: Tensor) -> list[Output]:
            # (copies, n, ...): the other inputs of the network are repeated batch by batch.
            pictures = altered.transpose(0, 1).flatten(0, 1).to(self.inputs.dtype)
            given = self._asked.inputs.repeated(altered.shape[1]).with_picture(pictures)
            logits = find_logits(given.run(self._asked.model), batch=len(pictures))
            return [samples_of(logits, slice(sample, None, len(altered))) for sample in range(len(altered))]

        return self._scores(count, copies, logits_of, self.inputs)

    def score_and_gradients(self, inputs: Float[Tensor, "n channels *size"]) -> tuple[Float[Tensor, " n"], Tensor]:
        """Return the scores of other inputs, and their gradients with respect to these inputs."""
        leaf = inputs.detach().to(self.inputs.dtype).clone().requires_grad_()
        with torch.enable_grad(), self._asked.autocast():
            logits = find_logits(self._asked.inputs.with_picture(leaf).run(self._asked.model), batch=len(leaf))
            found = scores([row[self._k] for row in self._asked.targets], logits)
            gradients = torch.autograd.grad(found.sum(), leaf, allow_unused=True)[0] if found.requires_grad else None
        if gradients is None:
            raise MethodError(
                f"Method '{self._method}' needs the score's gradient at the input, and none gets there: a torch.no_grad() in the model? "
                "Use a method that asks for scores only, such as 'scorecam'."
            )
        return to_float32(found.detach()), to_float32(gradients)

    def evidence_of(self, inputs: Sequence[Float[Tensor, "n channels *size"]], *, gradients: bool = True) -> list[Evidence]:
        """Return the evidence of other inputs at the same layer."""
        with self._asked.autocast():
            return self._asked.evidence_of(self._method, self._path, self._k, inputs, gradients=gradients)

    def report(self, done: int, total: int) -> None:
        """Say how far the method is."""
        if self._asked.progress is not None:
            self._asked.progress(f"{self._method} at {self._path}", done, total)

    def contributions_from_zero(self) -> Maps:
        """Return what each activation contributes to the score less that of zero activations, by DeepLIFT's rescale rule."""
        replay, size = self._replayed(), self.inputs.shape[2:]
        found = []
        for sample in range(len(replay.given)):
            given = replay.given[sample : sample + 1]
            maps = self._layout.to_maps(given, size)
            pair = torch.cat([maps, torch.zeros_like(maps)]).requires_grad_()
            with torch.enable_grad(), self._asked.autocast():
                # Clone: a layer downstream that works in place must not meet a leaf.
                tensor = self._layout.from_maps(pair.clone(), given, size)
                with Rescaling() as rule:
                    output = replay(sample, tensor)
                logits = find_logits(output, batch=2)
                scored = scores([self._asked.targets[sample][self._k]] * 2, logits)
            (gradients,) = torch.autograd.grad(scored, pair, torch.full_like(scored, 0.5))
            contributions = to_float32(gradients).sum(dim=0, keepdim=True) * to_float32(maps)
            self._check_complete(contributions, to_float32(scored.detach()), torch.finfo(tensor.dtype).eps, rule.undefined)
            found.append(contributions)
        return torch.cat(found)

    def _check_complete(self, contributions: Tensor, scored: Tensor, eps: float, undefined: AbstractSet[str]) -> None:
        total, wanted = contributions.sum(), scored[0] - scored[1]
        # 3e-4 of float32: rounding, not another rule; scores that are a large bias and little else differ by their own rounding.
        if (total - wanted).abs() <= eps**0.5 * contributions.abs().sum() + 16 * eps * scored.abs().amax():
            return
        what = ", ".join(sorted(undefined)) or "the target itself, or something that torch functions do not show"
        raise MethodError(
            f"Method '{self._method}' at layer '{self._path}': the contributions sum to {total:.4g}, but the score is {wanted:.4g} above "
            f"that of zero activations. DeepLIFT's rescale rule is not defined for what lies downstream: {what}. Choose a layer behind "
            "it, or a method that asks for scores only, such as 'ablationcam'."
        )

    def _replayed(self) -> Replay:
        if self._replay is None:
            raise MethodError(f"Method '{self._method}' asks for scores of other activations, but does not say `replays = True`.")
        self._replay.invalidate()
        return self._replay

    def _scores(self, count: int, copies: Copies, logits_of: Callable[[Tensor], list[Output]], copy: Tensor) -> Tensor:
        """Return (n, count); `logits_of` gives the logits of every sample's copies, `copy` is one of each sample."""
        targets, remembered, question = self._asked.targets, self._remembered, self._questions
        self._questions += 1
        if remembered is not None and len(remembered) > question:
            return remembered[question][:, self._k]
        wanted = range(len(targets[0])) if remembered is not None else [self._k]
        found = torch.empty(len(targets), len(wanted), count, dtype=self.scores.dtype, device=self.scores.device)

        def run(start: int, stop: int) -> None:
            with torch.no_grad(), self._asked.autocast():
                for sample, logits in enumerate(logits_of(copies(start, stop))):
                    for place, k in enumerate(wanted):
                        found[sample, place, start:stop] = to_float32(scores([targets[sample][k]] * len(logits), logits))

        in_chunks(count, chunk_size(copy), run, self.report)
        if not found.isfinite().all():
            raise MethodError(f"Method '{self._method}' at layer '{self._path}': the network gives scores of NaN or infinity.")
        if remembered is None:
            return found[:, 0]
        remembered.append(found)
        return found[:, self._k]
