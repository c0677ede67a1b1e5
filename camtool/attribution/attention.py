"""The attention methods' part of a CAM call: the self-attention layers, their gradients, and the maps."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import NOT_FINITE, ZERO_GRADIENT, MethodError, TargetError
from camtool.functional import holds_for_some, not_finite, to_float32
from camtool.instrumentation.attention import Attention
from camtool.instrumentation.attention_places import AttentionFindings
from camtool.instrumentation.calls import ThreadHook
from camtool.instrumentation.differentiation import gradients_of
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_paths import find_layer
from camtool.instrumentation.nested import replaced, tensors_in
from camtool.instrumentation.self_attention import SelfAttention, find_blocks, find_self_attention
from camtool.layouts import Layout
from camtool.methods import AttentionMethod
from camtool.methods.attention._base import AttentionEvidence
from camtool.targets import Output, scores_in

ATTENTION = "attention"
"""Key of the raw maps of attention methods, in place of a target layer's path."""


class AttentionMaps:
    """Raw maps of attention methods from the recorded attention of one forward pass.

    Raises:
        MethodError: if the methods are not defined for this network.
    """

    def __init__(
        self,
        methods: Mapping[str, AttentionMethod],
        records: Sequence[Attention],
        inputs: Inputs,
        logits: Output,
        layout: Layout | None,
        findings: AttentionFindings,
    ) -> None:
        self._methods = methods
        self._inputs = inputs
        self._logits = logits
        method_names = ", ".join(f"'{name}'" for name in methods)
        self.self_attention: SelfAttention = find_self_attention(
            records, len(inputs.picture), inputs.picture.shape[2:], layout, findings, method_names
        )

    @property
    def differentiated(self) -> list[Tensor]:
        """The weights whose gradients are needed; always the last layer's, whose gradient shows which tokens the scores depend on."""
        layers = self.self_attention.layers
        return [layer.weights for layer in (layers if any(method.needs.gradients for method in self._methods.values()) else layers[-1:])]

    def checked(self, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Return the gradients of the last layers if none is missing; MethodError otherwise."""
        layers = self.self_attention.layers[-len(gradients) :]
        for layer, gradient in zip(layers, gradients, strict=True):
            if gradient is None:
                raise MethodError(
                    f"No gradient reaches the attention of layer '{layer.path}', shape {tuple(layer.weights.shape)}: it is computed under "
                    "torch.no_grad(), in an autograd function of the network's own (reversible blocks) or under activation "
                    "checkpointing, or the score does not depend on it. Switch that off, or use a method of activations, such as 'gradcam'."
                )
        return [gradient for gradient in gradients if gradient is not None]

    def layer_gradients(self, model: nn.Module, scores_of: Sequence[Callable[[Output], Tensor]]) -> list[list[Tensor]] | None:
        """Return, by target and layer, the gradient of the score of the layer's own tokens with respect to the layer's weights.

        `scores_of[k]` converts the logits of the batch to its k-th targets' scores (n). None if no method needs these gradients.

        All layers' tokens go through the network's tail as one batch, in place of the last block's output in a second forward pass:
        without graph, and of one sample if the network allows it, so that the first pass, which all methods share, is unchanged.
        """
        needing = [name for name, method in self._methods.items() if method.needs.layer_gradients]
        if not needing:
            return None
        layers, n = self.self_attention.layers, len(self._inputs.picture)
        if len(layers) == 1:  # the layer's own score is the network's
            with torch.enable_grad():
                scores = [score(self._logits).sum() for score in scores_of]
            return [[*gradients_of(score, layers[0].weights, retain_graph=True)] for score in scores]
        blocks = find_blocks(layers, needing[0])
        tokens = [layer.outputs[block] for layer, block in zip(layers, blocks, strict=True)]
        axis = 0 if tokens[-1].shape[0] == n else 1  # nn.TransformerEncoder may have the length first
        stacked = torch.cat([layer_tokens.detach() for layer_tokens in tokens], dim=axis).requires_grad_()
        logits = self._tail(model, blocks[-1], layers[-1].output_calls[blocks[-1]], stacked, needing[0])
        by_target = []
        for score in scores_of:
            with torch.enable_grad():
                total = torch.stack([score(layer_logits).sum() for layer_logits in logits.chunk(len(layers))]).sum()
            (token_gradients,) = gradients_of(total, stacked, retain_graph=True)
            weight_gradients = [
                gradients_of(output, layer.weights, grad_outputs=gradient, retain_graph=True, allow_unused=True)[0]
                for output, layer, gradient in zip(tokens, layers, token_gradients.chunk(len(layers), dim=axis), strict=True)
            ]
            by_target.append(self.checked(weight_gradients))
        return by_target

    def _tail(self, model: nn.Module, path: str, call: int, stacked: Tensor, method: str) -> Float[Tensor, "layers_n *output"]:
        """Return the tail's logits of the tokens `stacked` in place of a block's call; those of the last layer must equal the network's."""
        _, last = find_layer(model, path)
        layers = len(self.self_attention.layers)
        expected = self._logits.detach()
        if not isinstance(expected, Tensor):
            raise MethodError(
                f"Method '{method}' scores each layer's tokens, which needs scores (n, classes); a detector has none. Try 'gradcam'."
            )
        tolerance = torch.finfo(expected.dtype).eps ** 0.5 * expected.abs().amax()
        failure = ""
        # One sample is enough to reach the tail, unless the tail depends on the number of samples or a skip connection before it.
        for inputs in (self._inputs.first_sample(), self._inputs.repeated(layers)):
            try:
                logits = _put_through(model, last, call, inputs, stacked, layers * len(expected))
            except (RuntimeError, TargetError) as error:
                failure = f" ({error})"
                continue
            last_logits = logits[-len(expected) :].detach()
            # Scores of pictures by captions have as many columns as there are captions, which may be repeated with the pictures.
            if last_logits.shape == expected.shape and (last_logits - expected).abs().amax() <= tolerance:
                return logits
        raise MethodError(
            f"Method '{method}' scores each layer's tokens by what follows the last block, '{path}'; in this network that is not a "
            f"function of these tokens, sample by sample{failure}. Use 'genericattention', which needs no such scores."
        )

    def raw_maps(self, gradients: list[list[Tensor]], layer_gradients: list[list[Tensor]] | None) -> dict[str, Float[Tensor, "n k *grid"]]:
        """Return by method the raw maps of all k targets, from the gradients of `differentiated` and `layer_gradients` by target."""
        layers = self.self_attention.layers
        last = torch.stack([_by_head(gradient[-1]) for gradient in gradients])  # (k, n, heads, length, length)
        rows = (last != 0).any(dim=4).any(dim=2)  # (k, n, length)
        unread = (~rows.any(dim=2)).any(dim=0)
        if dead := unread.nonzero().flatten().tolist():
            raise MethodError(
                f"The attention of layer '{layers[-1].path}' has a gradient of exactly zero (sample {', '.join(map(str, dead[:5]))}): the "
                "score depends on none of its tokens. A head with weights of zero is a common cause: load trained weights.",
                status=ZERO_GRADIENT,
                of_some=holds_for_some(unread),
            )
        weights, scores = [_by_head(layer.weights) for layer in layers], [_by_head(layer.scores) for layer in layers]
        behind = self._behind()
        if behind and bool(rows[..., -behind:].any()) and not rows[..., :-behind].any():
            raise MethodError(
                f"The score reads the last {behind} of {rows.shape[-1]} tokens only; expected tokens that are not positions (class, "
                "distillation) in front of the others. Use a method of activations with a layer of patches alone."
            )
        raws = {}
        for name, method in self._methods.items():
            maps = []
            for k in range(len(gradients) if method.class_discriminative else 1):
                layer_weights_gradients = [_by_head(gradient) for gradient in gradients[k]] if method.needs.gradients else None
                own_gradients = (
                    [_by_head(gradient) for gradient in layer_gradients[k]] if method.needs.layer_gradients and layer_gradients else None
                )
                # A map that is the same for every target uses all tokens that any target depends on.
                rows_read = rows[k] if method.class_discriminative else rows.any(dim=0)
                maps.append(
                    self._folded(method.raw_map(AttentionEvidence(weights, scores, rows_read, layer_weights_gradients, own_gradients)))
                )
            stacked = torch.stack(maps, dim=1)
            raws[name] = stacked.expand(-1, len(gradients), *stacked.shape[2:]).contiguous()
            if (broken := not_finite(stacked)).any():
                raise MethodError(
                    f"Method '{name}' gives NaN or infinite values on this input; check the weights and the precision.",
                    status=NOT_FINITE,
                    of_some=holds_for_some(broken),
                )
        return raws

    def _behind(self) -> int:
        """Return how many tokens are no positions, where all of these are in front or all behind; 0 otherwise."""
        cells, length = self.self_attention.cells, self.self_attention.layers[-1].weights.shape[-1]
        front, behind = int(cells.min()), length - 1 - int(cells.max())
        return max(front, behind) if 0 in (front, behind) and front + behind + cells.numel() == length else 0

    def _folded(self, relevance: Float[Tensor, "n length"]) -> Float[Tensor, "n *grid"]:
        cells = self.self_attention.cells
        grid = cells.shape[cells.ndim - (self._inputs.picture.ndim - 2) :]
        # Of several tokens at each place, as of a spectrogram's patches, the relevance is summed.
        return relevance.index_select(1, cells.flatten().to(relevance.device)).unflatten(1, (-1, *grid)).sum(dim=1)


def _put_through(model: nn.Module, last: nn.Module, call: int, inputs: Inputs, tokens: Tensor, batch: int) -> Tensor:
    """Return the logits of a forward pass with `tokens` as the output of one call of `last`; the graph begins there."""
    calls = itertools.count()

    def put_in_place(module: nn.Module, arguments: object, output: object) -> object:
        if next(calls) != call:
            return None
        (old,) = tensors_in(output)
        torch.set_grad_enabled(True)
        return replaced(output, old, tokens.clone())

    handle = last.register_forward_hook(ThreadHook(put_in_place))
    try:
        with torch.no_grad():
            logits = scores_in(inputs.run(model), batch=batch)
    finally:
        handle.remove()
    assert isinstance(logits, Tensor), "detectors are refused earlier"
    return logits


def _by_head(weights: Tensor) -> Float[Tensor, "n heads length length"]:
    weights = to_float32(weights.detach())
    return weights.unsqueeze(1) if weights.ndim == 3 else weights
