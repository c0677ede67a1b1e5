"""Self-attention over the input's tokens among the recorded attention, and the block of each layer."""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camtool.errors import MethodError, some, times, warn
from camtool.instrumentation.attention import Attention
from camtool.instrumentation.attention_places import AttentionFindings, AttentionPlaces, TokenPlaces
from camtool.instrumentation.layer_paths import enclosing
from camtool.layouts import Layout, Tokens
from camtool.layouts._base import has_one_scale

NO_OTHER = "Use a method of activations, such as 'gradcam'."


@dataclass(frozen=True)
class SelfAttention:
    """Self-attention layers over the same tokens, as attention methods need them."""

    layers: list[Attention]
    """In the order of the forward pass; each (n, heads, length, length), or (n, length, length) for a single head."""
    cells: Tensor
    """(*grid): index of each cell's token; the other tokens are no positions."""


def find_self_attention(
    records: Sequence[Attention], batch: int, input_size: Sequence[int], layout: Layout | None, findings: AttentionFindings, methods: str
) -> SelfAttention:
    """Return the self-attention layers over the picture's tokens; `methods` names the methods in error messages.

    Attention that does not depend on the picture is left out, as that of a text. All other must be between all tokens of a sample,
    queries and keys the same tokens at the same places of the picture in each layer. Where earlier layers have other tokens than later
    ones (the tokens module of T2T-ViT), the last sequence of layers with one number of tokens is used. Each layer must follow from the
    one before.

    Args:
        batch: number of samples in the pass.
        layout: the user's; of one of tokens, what it states is obeyed, and measured only to warn.
        findings: measures what is not known yet.

    Raises:
        MethodError: for attention within windows, to pooled keys, between channels, between other things than samples' tokens, among
            tokens whose places are not known or change, or none at all; the message names the layer and the shape.
    """
    if not records:
        raise MethodError(
            f"Not defined for this network: {methods}. No attention was recorded: expected scaled_dot_product_attention, "
            f"nn.MultiheadAttention or a softmax over keys. {NO_OTHER}"
        )
    problems = [_problem(before, record, batch) for before, record in zip([None, *records], records, strict=False)]
    if any(problems):  # is it the picture's?
        for record, problem, depends in zip(records, problems, findings.depend(records), strict=True):
            if problem and depends:
                raise _undefined(
                    methods, record, f"{problem}. Expected every token to attend to every token, ({batch}, heads, length, length)"
                )
    found = [pair for pair in zip(records, findings.of(records), strict=True) if pair[1].depends]
    if not found:
        raise MethodError(
            f"Not defined for this network: {methods}. None of its attention, such as that of layer '{records[-1].path}', depends on "
            f"the picture that the maps lie over. {NO_OTHER}"
        )
    length = found[-1][0].weights.shape[-1]
    first = next((position for position in range(len(found), 0, -1) if found[position - 1][0].weights.shape[-1] != length), 0)
    layers = [record for record, _ in found[first:]]
    places = [place for _, place in found[first:]]
    for before, after in itertools.pairwise(layers):
        if not _leads_to(before.weights, after.weights):
            raise MethodError(
                f"Not defined for this network: {methods}. The attention of layer '{after.path}' does not follow from that of "
                f"'{before.path}', recorded before it: they are parallel, in two branches or of two inputs. Expected one chain of "
                f"layers. {NO_OTHER}"
            )
    if isinstance(layout, Tokens) and (layout.front is not None or layout.grid is not None or layout.cells is not None):
        return SelfAttention(layers, _given_cells(layers, places, layout, tuple(input_size), methods))
    return SelfAttention(layers, _measured_cells(layers, places, tuple(input_size), methods, follows_others=first > 0))


def _measured_cells(
    layers: Sequence[Attention], places: Sequence[AttentionPlaces], size: tuple[int, ...], methods: str, *, follows_others: bool
) -> Tensor:
    """Return (*grid) the token of each cell, on which the queries and keys of all layers agree; MethodError otherwise."""
    cells: Tensor | None = None
    for layer, place in zip(layers, places, strict=True):
        for name, other, tokens in (("queries", "keys", place.queries), ("keys", "queries", place.keys)):
            if not tokens.depends:
                raise _undefined(methods, layer, f"its {other} are tokens of the picture, its {name} depend on nothing of it")
            if tokens.cells is None:
                raise _undefined(
                    methods,
                    layer,
                    f"it is not known where in the picture its {name} look: {tokens.reason or 'no layout is confirmed'}. If you know, "
                    "state it: layout=Tokens(grid=…, front=…), '--layout', '--num-extra-tokens'",
                )
            if cells is None:
                cells = tokens.cells
            elif not torch.equal(cells, tokens.cells):
                raise _undefined(
                    methods,
                    layer,
                    f"its {name} look at other places than the tokens before them, a grid of {times(tokens.cells.shape)} and not "
                    f"of {times(cells.shape)}, or in another order; so tokens were moved or dropped. Expected the same tokens in the "
                    "same places in all layers",
                )
    assert cells is not None
    if follows_others and not has_one_scale(cells.shape[-len(size) :], size):
        raise _undefined(
            methods,
            layers[0],
            f"layers before it have other numbers of tokens, and its own, a grid of {times(cells.shape)} over the {times(size)} input, "
            "are what is left of these. Expected the same tokens in all layers",
        )
    return cells


def _given_cells(
    layers: Sequence[Attention], places: Sequence[AttentionPlaces], given: Tokens, size: tuple[int, ...], methods: str
) -> Tensor:
    """Return (*grid) the token of each cell as the user's layout says, and as measured where it says nothing."""
    layout = copy.copy(given)
    layout.axis, layout.stated_batch_axis, layout._batch_axis = 1, None, 0  # attention has axes of its own
    last, shape = layers[-1], (1, layers[-1].weights.shape[-1], 1)
    measured = [tokens for place in places for tokens in (place.queries, place.keys) if tokens.cells is not None and tokens.depends]
    agreeing = [tokens for tokens in measured if _agrees(layout, tokens, shape, size)]
    if agreeing and len(agreeing) == len(measured):
        assert agreeing[-1].cells is not None
        return agreeing[-1].cells
    if layout.mismatch(shape, size, given=True) is not None:
        extra = "" if layout.front is None else f" after {layout.front} extra tokens"
        raise MethodError(
            f"Not defined for this network: {methods}. The {shape[1]} tokens of layer '{last.path}' (attention of shape "
            f"{tuple(last.weights.shape)}){extra} make no grid of the {times(size)} input. If some of them "
            "are not positions, give their number: layout=Tokens(num_extra_tokens=…), '--num-extra-tokens'."
        )
    cells = layout.cells_of(shape, size)
    other = [
        layer.path
        for layer, place in zip(layers, places, strict=True)
        if any(_differs(cells, part) for part in (place.queries, place.keys))
    ]
    if other:
        warn(f"Layer '{some(other)}': the given layout is used, but the tokens of its attention look at other places.")
    return cells


def _agrees(layout: Tokens, tokens: TokenPlaces, shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    return tokens.layout is not None and layout.along(tokens.layout).agrees_with(tokens.layout, shape, size)


def _differs(cells: Tensor, tokens: TokenPlaces) -> bool:
    return not tokens.depends or (tokens.cells is not None and not torch.equal(cells, tokens.cells))


def _undefined(methods: str, layer: Attention, problem: str) -> MethodError:
    shape = tuple(layer.weights.shape)
    return MethodError(
        f"Not defined for this network: {methods}. Layer '{layer.path}' has attention of shape {shape}: {problem}. {NO_OTHER}"
    )


def _leads_to(source: Tensor, result: Tensor) -> bool:
    """Return whether `result` was computed from `source`, according to the autograd graph."""
    origin = source.grad_fn
    pending, visited = [result.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in visited:
            continue
        if node is origin or (origin is None and getattr(node, "variable", None) is source):  # a leaf has a node of its own
            return True
        visited.add(node)
        pending += [following for following, _ in node.next_functions]
    return False


def _problem(before: Attention | None, record: Attention, batch: int) -> str:
    """Return in words why a record is not between all tokens of each sample; "" if it is."""
    if before is not None and before.call == record.call:
        return "it is the second attention in one call of that layer, and their order is not known"
    shape, input_shape = record.weights.shape, record.input_shape
    if len(shape) > 4:
        return "it has more axes than that, so it lies within windows or groups"
    if shape[0] != batch:
        return f"it does not start with the batch of {batch}, so it lies within windows or patches, or heads are folded into the batch"
    if shape[-2] != shape[-1]:
        return f"its {shape[-2]} queries and {shape[-1]} keys differ, so keys or queries are pooled, or of another kind"
    if input_shape is not None and len(input_shape) == 3 and shape[-1] not in input_shape[:2]:
        return f"it is not between the tokens that the layer is given, {input_shape}, but between channels, or tokens pooled or picked"
    return ""


def find_blocks(layers: Sequence[Attention], method: str) -> list[str]:
    """Return the path of each layer's block: the child of the innermost module around all layers that contains this layer.

    Raises:
        MethodError: if layers share a block, or a block's output is not tokens.
    """
    chains = [enclosing(layer.path) for layer in layers]
    shared = sum(1 for _ in itertools.takewhile(lambda paths: len(set(paths)) == 1, zip(*chains, strict=False)))
    # A block that is called again and again has no module around all layers but the one around itself.
    blocks = [
        chain[shared] if len(chain) > shared else next(reversed(layer.outputs), "") for layer, chain in zip(layers, chains, strict=True)
    ]
    for layer, block in zip(layers, blocks, strict=True):
        if block not in layer.outputs:
            raise MethodError(
                f"Method '{method}' needs blocks with one attention each that put out tokens (n, length, c); the attention of layer "
                f"'{layer.path}', shape {tuple(layer.weights.shape)}, lies in no such block. Use 'genericattention', which needs none."
            )
    return blocks
