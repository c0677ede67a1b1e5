"""The input methods' part of a forward pass: the graph from the input on, the gradients there, and the maps made of them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.attribution.result import MethodMaps, finished
from camtool.errors import MethodError, attribute_errors_to, warn
from camtool.functional import to_float32
from camtool.instrumentation.bias_gradients import BiasRecorder, BiasTerm
from camtool.instrumentation.guided_relu import GuidedReLUs
from camtool.instrumentation.inputs import Inputs
from camtool.layouts import Layout
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.targets import Output
from camtool.types import Maps

INPUT = "input"
"""What stands for the target layer's path in the raw maps of input methods."""

MISSING_SHARE = 1e-2
"""Of a score: a smaller part that the terms leave out is rounding."""


class InputGradients:
    """Makes the graph of one forward pass start at the input, and reads the gradients there; entered, it is the pass's inputs.

    Args:
        fit: `fit(tensor, module, batch=…, input_size=…)`: the layout of what a layer gave.
        check: warn where the bias terms do not sum to the score.

    Raises:
        MethodError: where the methods are not defined for this network.
    """

    def __init__(
        self, methods: Mapping[str, InputMethod], model: nn.Module, inputs: Inputs, fit: Callable[..., Layout], *, check: bool
    ) -> None:
        picture = inputs.picture
        batch, size = len(picture), picture.shape[2:]
        self._methods = methods
        self._inputs = inputs
        self._check = check
        self._leaf = picture.detach().clone() if methods else picture
        self._biases = BiasRecorder(model, partial(fit, batch=batch, input_size=size), batch, size) if self._any("bias_gradients") else None
        self._relus = GuidedReLUs() if self._any("guided_gradients") else None
        self._evidence: list[InputEvidence] = []
        self._stack = ExitStack()

    def __enter__(self) -> Inputs:
        if not self._methods:
            return self._inputs
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for part in (self._biases, self._relus):
                if part is not None:
                    stack.enter_context(part)
            self._stack = stack.pop_all()
        self._leaf.requires_grad_()
        # Clone: a first layer may work in place, which a leaf does not allow.
        return self._inputs.with_picture(self._leaf.clone())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def read(self, scores_of: Sequence[Callable[[Output], Tensor]], logits: Output) -> None:
        """Take the gradients of all targets' scores; `scores_of[k]` turns the logits of the batch into its k-th targets' scores (n)."""
        for score_of in scores_of if self._methods else ():
            with torch.enable_grad():
                scores = score_of(logits)
                total = scores.sum()
            gradients, guided = None, None
            terms: list[BiasTerm] = []
            if not scores.requires_grad:
                raise MethodError(_disconnected(self._methods))
            if self._biases is not None:
                gradients, terms = self._biases.terms(total, self._leaf, retain_graph=True)
                if not gradients.flatten(1).any(dim=1).all():
                    raise MethodError(_dead(self._methods))
                if self._check:
                    _warn_if_incomplete(to_float32(scores.detach()), to_float32(self._leaf.detach()) * gradients, terms)
            if self._relus is not None:
                with attribute_errors_to(name for name, one in self._methods.items() if one.needs.guided_gradients), self._relus.guiding():
                    (found,) = torch.autograd.grad(total, self._leaf, retain_graph=True, allow_unused=True)
                if found is None:
                    raise MethodError(_disconnected(self._methods))
                guided = to_float32(found)
            maps = [term.maps for term in terms if term.maps is not None]
            self._evidence.append(InputEvidence(to_float32(self._leaf.detach()), gradients, maps, guided))

    def maps(self, explained: Mapping[str, MethodMaps]) -> dict[str, MethodMaps]:
        """Return every input method's maps; `explained` has those of the methods that some are based on."""
        with torch.autocast(self._leaf.device.type, enabled=False):  # the arithmetic of maps is float32 or wider
            return {
                name: self._maps_of(name, method, explained)
                for name, method in self._methods.items()
                if not method.base or method.base in explained  # its base may have refused, and is left out
            }

    def _maps_of(self, name: str, method: InputMethod, explained: Mapping[str, MethodMaps]) -> MethodMaps:
        raws, attributions = [], []
        for k, evidence in enumerate(self._evidence):
            given = replace(evidence, map=explained[method.base].maps[:, k].to(evidence.inputs.dtype)) if method.base else evidence
            raws.append(method.raw_map(given))
            of_channels = method.attributions(given)
            if of_channels is not None:
                attributions.append(of_channels)
        raw = torch.stack(raws, dim=1)
        if not raw.isfinite().all():
            raise MethodError(f"Method '{name}' gives NaN or infinite values on this input; check the weights and the precision.")
        found = finished({INPUT: raw}, self._leaf.shape[2:])
        found.attributions = torch.stack(attributions, dim=1).float() if attributions else None
        return found

    def _any(self, need: str) -> bool:
        return any(getattr(method.needs, need) for method in self._methods.values())


def input_source(base: str, layers: str) -> str:
    """Return in words where a map of an input method comes from; `layers` says so for its base."""
    return f"at the input, times {base} {layers}" if base else "at the input"


def _warn_if_incomplete(scores: Float[Tensor, " n"], products: Maps, terms: Sequence[BiasTerm]) -> None:
    parts = torch.stack([products.flatten(1).sum(dim=1), *(term.total for term in terms)])
    missing = (scores - parts.sum(dim=0)).abs()
    # Large terms of both signs leave more rounding than the score is.
    worst = int((missing / (scores.abs() + 1e-3 * parts.abs().sum(dim=0) + 1e-12)).argmax())
    if missing[worst] > MISSING_SHARE * (scores[worst].abs() + 1e-3 * parts[:, worst].abs().sum()):
        warn(
            f"fullgrad: input and bias terms sum to {parts[:, worst].sum().item():.4g}, the score is {scores[worst].item():.4g} (sample "
            f"{worst}). They are equal for scores of networks of convolutions, batch norms, linear layers, ReLU and pooling; here the map "
            "leaves something out, as other activations, normalisations, or a probability as target."
        )


def _dead(methods: Mapping[str, Any]) -> str:
    named = ", ".join(f"'{name}'" for name in methods)
    return (
        f"The score has a gradient of exactly zero at the whole input, which {named} needs. A head with weights of zero gives that: load "
        "trained weights."
    )


def _disconnected(methods: Mapping[str, Any]) -> str:
    named = ", ".join(f"'{name}'" for name in methods)
    return (
        f"The score does not depend on the input in a way that has a gradient, which {named} needs: a torch.no_grad() in the model, or "
        "whole numbers made of the input? Use a method of activations, such as 'eigencam'."
    )
