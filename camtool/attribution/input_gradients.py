"""The input methods' part of a CAM call: the graph from the input on, the gradients there, further passes, and the maps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.attribution.queries import QueriesOfInputs, QueryContext
from camtool.attribution.result import MethodMaps, finished
from camtool.errors import NOT_FINITE, MethodError, attribute_errors_to, warn
from camtool.functional import holds_for_some, not_finite, to_float32
from camtool.instrumentation.bias_gradients import BiasRecorder, BiasTerm
from camtool.instrumentation.differentiation import gradients_of
from camtool.instrumentation.guided_relu import ACTIVATIONS, GuidedReLUs
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import gradient_remark, scripted_part_with
from camtool.instrumentation.precision import without_autocast
from camtool.layouts import Layout
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.placement import Placements
from camtool.targets import Output
from camtool.types import Maps

INPUT = "input"
"""Key of the raw maps of input methods, in place of a target layer's path."""

MISSING_SHARE = 1e-2
"""Share of a score: a smaller difference of the terms' sum is rounding."""


class InputGradients:
    """Starts the graph of one forward pass at the input and computes the gradients there; entering returns the pass's inputs.

    Args:
        fit: `fit(tensor, path, batch=…, input_size=…)` returns the layout of a layer's output.
        placements: where the cells of biased layers lie, by path; evenly for the others.
        check: whether to warn if the bias terms do not sum to the score.

    Raises:
        MethodError: if the methods are not defined for this network.
    """

    def __init__(
        self,
        methods: Mapping[str, InputMethod],
        model: nn.Module,
        inputs: Inputs,
        fit: Callable[..., Layout],
        placements: Placements,
        *,
        check: bool,
    ) -> None:
        picture = inputs.picture
        batch, size = len(picture), picture.shape[2:]
        self._methods = methods
        self._differentiating = [name for name, method in methods.items() if method.needs.gradients]
        self._inputs = inputs
        self._placements = placements
        self._check = check
        self._remark = gradient_remark(model) if methods else ""
        self._leaf = picture.detach().clone() if self._differentiating else picture
        self._biases = BiasRecorder(model, partial(fit, batch=batch, input_size=size), batch, size) if self._any("bias_gradients") else None
        self._relus = GuidedReLUs(scripted_part_with(model, ACTIVATIONS)) if self._any("guided_gradients") else None
        self._evidence: list[InputEvidence] = []
        self._stack = ExitStack()

    def __enter__(self) -> Inputs:
        if not self._differentiating:
            return self._inputs
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for part in (self._biases, self._relus):
                if part is not None:
                    stack.enter_context(part)
            self._stack = stack.pop_all()
        self._leaf.requires_grad_()
        # Clone: a first layer may work in place, which is not allowed on a leaf.
        return self._inputs.with_picture(self._leaf.clone())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def read(self, scores_of: Sequence[Callable[[Output], Tensor]], logits: Output) -> None:
        """Compute the gradients of all targets' scores; `scores_of[k]` converts the logits to the k-th targets' scores (n)."""
        for score_of in scores_of if self._methods else ():
            with torch.enable_grad():
                scores = score_of(logits)
                total = scores.sum()
            gradients, guided = None, None
            terms: list[BiasTerm] = []
            if not self._differentiating:
                self._evidence.append(InputEvidence(to_float32(self._leaf.detach())))
                continue
            if not scores.requires_grad:
                raise MethodError(_disconnected(self._differentiating) + self._remark)
            if self._biases is not None:
                gradients, terms = self._biases.terms(total, self._leaf, retain_graph=True)
                if not gradients.flatten(1).any(dim=1).all():
                    raise MethodError(_dead(self._differentiating) + self._remark)
                if self._check:
                    _warn_if_incomplete(to_float32(scores.detach()), to_float32(self._leaf.detach()) * gradients, terms)
            elif self._any("input_gradients"):
                (gradient,) = torch.autograd.grad(total, self._leaf, retain_graph=True, allow_unused=True)
                if gradient is None:
                    raise MethodError(_disconnected(self._differentiating) + self._remark)
                gradients = to_float32(gradient)
            if self._relus is not None:
                with (
                    attribute_errors_to(name for name, method in self._methods.items() if method.needs.guided_gradients),
                    self._relus.guiding(),
                ):
                    (guided_gradient,) = gradients_of(total, self._leaf, retain_graph=True, allow_unused=True)
                if guided_gradient is None:
                    raise MethodError(_disconnected(self._differentiating) + self._remark)
                guided = to_float32(guided_gradient)
            by_path = [(term.maps, self._placements.get(term.path)) for term in terms if term.maps is not None]
            maps, places = [maps for maps, _ in by_path], [placement for _, placement in by_path]
            self._evidence.append(InputEvidence(to_float32(self._leaf.detach()), gradients, maps, guided, bias_placements=places))

    @property
    def differentiating(self) -> list[str]:
        """Names of the methods that need gradients of this pass."""
        return self._differentiating

    def maps(self, explained: Mapping[str, MethodMaps], queries: QueryContext) -> dict[str, MethodMaps]:
        """Return every input method's maps.

        Args:
            explained: the maps of their base methods, by name.
            queries: for methods that need further passes of the network.
        """
        with without_autocast(self._leaf.device.type):  # the arithmetic of maps is float32 or wider
            return {
                name: self._maps_of(name, method, explained, queries)
                for name, method in self._methods.items()
                if not method.base or method.base in explained  # a base method that refused is left out
            }

    def _maps_of(self, name: str, method: InputMethod, explained: Mapping[str, MethodMaps], queries: QueryContext) -> MethodMaps:
        raws, attributions = [], []
        known_scores: list[Tensor] | None = [] if method.needs.same_queries_for_all_targets else None
        factors = explained[method.base].factors if method.base else None
        for k, evidence in enumerate(self._evidence):
            own = QueriesOfInputs(queries, method=name, path=INPUT, k=k, known_scores=known_scores)
            given = replace(evidence, map=None if factors is None else factors[:, k].to(evidence.inputs.dtype), model_queries=own)
            with attribute_errors_to([name]):
                raw, of_channels = method.maps(given, eigen_smooth=queries.call.eigen_smooth)
            raws.append(raw)
            if of_channels is not None:
                attributions.append(of_channels)
        raw = torch.stack(raws, dim=1)
        if (broken := not_finite(raw)).any():
            raise MethodError(
                f"Method '{name}' gives NaN or infinite values on this input; check the weights and the precision.",
                status=NOT_FINITE,
                of_some=holds_for_some(broken),
            )
        final = finished({INPUT: raw}, self._leaf.shape[2:])
        final.attributions = to_float32(torch.stack(attributions, dim=1)) if attributions else None
        return final

    def _any(self, need: str) -> bool:
        return any(getattr(method.needs, need) for method in self._methods.values())


def input_source(base: str, layers: str) -> str:
    """Return the source of an input method's map in words; `layers` is the source of its base method's."""
    return f"at the input, times {base} {layers}" if base else "at the input"


def _warn_if_incomplete(scores: Float[Tensor, " n"], products: Maps, terms: Sequence[BiasTerm]) -> None:
    parts = torch.stack([products.flatten(1).sum(dim=1), *(term.total for term in terms)])
    missing = (scores - parts.sum(dim=0)).abs()
    # The rounding of large terms of both signs may exceed the score.
    worst = int((missing / (scores.abs() + 1e-3 * parts.abs().sum(dim=0) + 1e-12)).argmax())
    if missing[worst] > MISSING_SHARE * (scores[worst].abs() + 1e-3 * parts[:, worst].abs().sum()):
        warn(
            f"fullgrad: input and bias terms sum to {parts[:, worst].sum().item():.4g}, the score is {scores[worst].item():.4g} (sample "
            f"{worst}). They are equal for scores of networks of convolutions, batch norms, linear layers, ReLU and pooling; here the map "
            "is incomplete, because of other activations or normalisations, or a probability as target."
        )


def _dead(methods: Iterable[str]) -> str:
    names = ", ".join(f"'{name}'" for name in methods)
    return (
        f"The score has a gradient of exactly zero at the whole input, which {names} needs. A head with weights of zero is a common cause: "
        "load trained weights."
    )


def _disconnected(methods: Iterable[str]) -> str:
    names = ", ".join(f"'{name}'" for name in methods)
    return (
        f"{names} needs the gradient of the score with respect to the input, but the graph does not reach it. Is part of the model under "
        "torch.no_grad(), or is the input converted to whole numbers? Use a method of activations, such as 'eigencam'."
    )
