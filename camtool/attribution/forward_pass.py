"""One forward pass: activations, their derivatives and the head's weights, by target and layer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from camtool.errors import NOT_FINITE, ZERO_GRADIENT, LayerError, MethodError
from camtool.functional import holds_for_some, not_finite, to_float32
from camtool.instrumentation.differentiation import gradients_of
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.linear_head import find_linear_head
from camtool.instrumentation.module_state import gradient_remark
from camtool.layouts import Layout, Tokens
from camtool.methods import BaseMethod
from camtool.methods._base import Evidence
from camtool.targets import Output, Target, scores
from camtool.types import Maps

Captured: TypeAlias = tuple[Tensor, Layout]
"""A layer's activations in its own shape, and their layout."""


class _Derivatives(NamedTuple):
    """Derivatives of one target's score with respect to one layer's activations, in the layer's own shape."""

    gradient: Tensor
    curvature: Tensor | None
    """The Hessian times the activations."""


class ForwardPass:
    """Results of one forward pass of `inputs` for n lists of k targets."""

    def __init__(
        self, model: nn.Module, inputs: Inputs, logits: Output, captured: Mapping[str, Captured], targets: Sequence[Sequence[Target]]
    ) -> None:
        self.inputs = inputs
        self.logits = logits
        self.targets = targets
        self._model = model
        self._captured = captured
        self._derivatives: list[dict[str, _Derivatives]] = []

    def scores(self) -> list[Callable[[Output], Tensor]]:
        """Return for each of the k targets a function from the logits of the batch to its scores (n)."""
        return [partial(scores, [row[k] for row in self.targets]) for k in range(len(self.targets[0]))]

    def differentiate(
        self, *, layers: bool = True, curved: bool = False, beside: Sequence[Tensor] = (), keep: bool = False
    ) -> list[list[Tensor | None]]:
        """Compute the derivatives of each target's score at the layers; return those with respect to `beside`, by target.

        Args:
            layers: whether to compute the layers' gradients.
            curved: whether to compute second derivatives, too.
            beside: further tensors of the graph.
            keep: whether the graph is needed afterwards.

        Raises:
            LayerError: if the score does not depend on a layer.
            MethodError: if the network uses activation checkpointing around the recorded attention.
        """
        activations = {path: tensor for path, (tensor, _) in self._captured.items()} if layers else {}
        by_target = []
        for k, scores_of in enumerate(self.scores()):
            with torch.enable_grad():
                score = scores_of(self.logits).sum()
            gradients: Sequence[Tensor | None] = [None] * (len(activations) + len(beside))
            if score.requires_grad:
                retain = keep or curved or k < len(self.targets[0]) - 1
                tensors = [*activations.values(), *beside]
                try:
                    gradients = gradients_of(score, tensors, retain_graph=retain, create_graph=curved, allow_unused=True)
                except CheckpointError as error:  # the backward pass recomputes with the fused kernel
                    raise MethodError(
                        "The network checkpoints its activations, so the attention that is recorded is not what its backward pass sees. "
                        "Switch activation checkpointing off, or use a method of activations, such as 'gradcam'."
                    ) from error
            by_layer = {path: gradient for path, gradient in zip(activations, gradients, strict=False) if gradient is not None}
            if len(by_layer) < len(activations):
                raise LayerError(_disconnected([path for path in activations if path not in by_layer]) + gradient_remark(self._model))
            self._derivatives.append(
                {
                    path: _Derivatives(gradient.detach(), _curvature(gradient, activations[path]) if curved else None)
                    for path, gradient in by_layer.items()
                }
            )
            by_target.append([gradient if gradient is None else gradient.detach() for gradient in gradients[len(activations) :]])
        return by_target

    def evidence(self, path: str, k: int, *, alive: bool = True) -> Evidence:
        """Return the evidence of the k-th targets at one layer; LayerError if it has NaN or a gradient of zero.

        Args:
            alive: whether a gradient of exactly zero is an error.
        """
        tensor, layout = self._captured[path]
        size = self.inputs.picture.shape[2:]
        activations = to_float32(layout.to_maps(tensor.detach(), size))
        # The sum first, a single pass over the numbers; a sum of finite numbers may overflow.
        if not activations.sum().isfinite() and not activations.isfinite().all():
            raise LayerError(
                f"Layer '{path}' gives NaN or infinite values on this input; check the weights and the precision.",
                status=NOT_FINITE,
                of_some=holds_for_some(not_finite(activations)),
            )
        gradients = curvature = None
        if self._derivatives and path in self._derivatives[k]:
            derivatives = self._derivatives[k][path]
            gradients = to_float32(layout.to_maps(derivatives.gradient, size))
            if alive:
                check_alive(path, [row[k] for row in self.targets], gradients)
            curvature = None if derivatives.curvature is None else to_float32(layout.to_maps(derivatives.curvature, size))
        indices = [getattr(row[k], "index", None) for row in self.targets]
        classes = [index if isinstance(index, int) else None for index in indices]  # of a tuple it is a method
        return Evidence(activations, gradients, partial(self._class_weights, path, activations, k), curvature, classes=classes)

    def importances(self, path: str) -> Float[Tensor, "n k"]:
        """Return a layer's importance for each target: the positive part of the mean gradient."""
        gradients = [self.evidence(path, k).gradients for k in range(len(self.targets[0]))]
        return torch.stack([gradient.flatten(1).mean(dim=1).clamp(min=0) for gradient in gradients if gradient is not None], dim=1)

    def _class_weights(self, path: str, activations: Maps, k: int, classifier: str | None = None) -> Tensor:
        """Return (n, c): the weights of the final linear layer, or the named one, combined as the target combines the logits."""
        if not isinstance(self.logits, Tensor):
            raise MethodError("A method of class weights needs scores (n, classes), which a detector does not give; use 'gradcam'.")
        logits = to_float32(self.logits.detach())
        tensor, layout = self._captured[path]
        head = find_linear_head(self._model, activations, logits, classifier, layout.channel_axes(tensor.shape))
        with torch.enable_grad():
            leaf = logits.clone().requires_grad_()
            score = scores([row[k] for row in self.targets], leaf).sum()
            (logit_weights,) = torch.autograd.grad(score, leaf)
        return logit_weights @ head.weight


def differentiate_all(
    main: ForwardPass, differentiated: Sequence[ForwardPass], attention: Sequence[Tensor], *, curvature: bool, keep_graph: bool
) -> list[list[Tensor | None]]:
    """Compute the derivatives of the forward passes; return those of `main` with respect to attention weights, by target."""
    others = [forward_pass for forward_pass in differentiated if forward_pass is not main]
    of_attention: list[list[Tensor | None]] = []
    if main in differentiated or attention:
        of_attention = main.differentiate(
            layers=main in differentiated, curved=curvature, beside=attention, keep=keep_graph or bool(others)
        )
    for forward_pass in others:
        forward_pass.differentiate(curved=curvature, keep=keep_graph or forward_pass is not others[-1])
    return of_attention


def check_alive(path: str, targets: Sequence[Target], gradients: Maps) -> None:
    """Raise LayerError if a sample has a gradient of exactly zero at every position."""
    is_zero = gradients.flatten(1).abs().amax(dim=1) == 0
    if dead := is_zero.nonzero().flatten().tolist():
        classes = [getattr(targets[sample], "index", targets[sample]) for sample in dead[:5]]
        raise LayerError(
            f"Layer '{path}': the score of target {_listed(classes)} (sample {_listed(dead[:5])}) has a gradient of exactly zero "
            "at every position. If the head reads a class token, layers behind the last attention have none: choose the first norm "
            "of the last block, or leave the target layers out to have one derived. Of a layer that is called several times, as a "
            "detector's head for each scale, another call= may have one. A head with weights of zero has none either: load trained "
            "weights.",
            status=ZERO_GRADIENT,
            of_some=holds_for_some(is_zero),
        )


def check_tokens(name: str, method: BaseMethod, path: str, tensor: Tensor, layout: Layout) -> None:
    """Raise MethodError if a method that is defined for tokens gets another layout."""
    if method.needs.tokens and not isinstance(layout, Tokens):
        raise MethodError(
            f"Method '{name}' is defined for tokens; layer '{path}' gives {tuple(tensor.shape)}, which is read as "
            f"{type(layout).__name__}. Choose a layer of tokens (n, length, c), such as the first norm of the last block."
        )


def parts(evidence: Evidence, count: int) -> list[Evidence]:
    """Split the evidence of a batch into that of `count` batches of equal size."""
    n = len(evidence.activations) // count
    gradients: Sequence[Tensor | None] = [None] * count if evidence.gradients is None else evidence.gradients.split(n)
    weights = [partial(_rows, evidence.class_weights, part * n, (part + 1) * n) for part in range(count)]
    return [Evidence(*part_evidence) for part_evidence in zip(evidence.activations.split(n), gradients, weights, strict=True)]


def _rows(of_all: Callable[..., Tensor], start: int, stop: int, *classifier: str) -> Tensor:
    return of_all(*classifier)[start:stop]


def _curvature(gradient: Tensor, activations: Tensor) -> Tensor:
    """Return the Hessian times the activations; zeros where the gradient does not depend on them, as behind ReLUs."""
    if not gradient.requires_grad:
        return torch.zeros_like(activations)
    with torch.enable_grad():
        along = (gradient * activations.detach()).sum()
    try:
        (product,) = torch.autograd.grad(along, activations, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise MethodError(f"torch cannot compute the second derivative of the score in this network: {error}. Try 'gradcam'.") from error
    return torch.zeros_like(activations) if product is None else product.detach()


def _disconnected(paths: Sequence[str]) -> str:
    return (
        f"Layer {_listed([repr(path) for path in paths])}: the score does not depend on it, so there is no gradient; choose a layer on "
        "the way to the output, or switch off activation checkpointing, or a torch.no_grad() in the model itself, around it."
    )


def _listed(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items))
