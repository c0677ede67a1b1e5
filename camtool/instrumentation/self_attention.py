"""Self-attention over the input's tokens among the recorded attention, and the block of each layer."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from camtool.errors import MethodError, times
from camtool.instrumentation.attention import Attention
from camtool.instrumentation.layer_paths import enclosing
from camtool.layouts.tokens import TokenGrid, token_grid


@dataclass(frozen=True)
class SelfAttention:
    """Self-attention layers over the same tokens, as attention methods need them."""

    layers: list[Attention]
    """In the order of the forward pass; each (n, heads, length, length), or (n, length, length) for a single head."""
    tokens: TokenGrid
    """Split of the length into extra tokens and a grid over the input."""


def find_self_attention(
    records: Sequence[Attention], batch: int, input_size: Sequence[int], num_extra_tokens: int | None, methods: str
) -> SelfAttention:
    """Return the self-attention layers of a network; `methods` names the methods in error messages.

    All attention must be between all tokens of a sample. Where earlier layers have other tokens than later ones (the tokens module
    of T2T-ViT), the last sequence of layers with one number of tokens is used. Each layer must follow from the one before.

    Raises:
        MethodError: for attention within windows, to pooled keys, between channels, between other things than samples' tokens, or
            none at all; the message names the layer and the shape.
    """
    if not records:
        raise MethodError(
            f"Not defined for this network: {methods}. No attention was recorded: expected scaled_dot_product_attention, "
            "nn.MultiheadAttention or a softmax over keys. Use a method of activations, such as 'gradcam'."
        )
    for before, record in zip([None, *records], records, strict=False):
        problem = _problem(record, batch)
        if before is not None and before.call == record.call:
            problem = "it is the second attention in one call of that layer, and their order is not known"
        if problem:
            raise MethodError(
                f"Not defined for this network: {methods}. Layer '{record.path}' has attention of shape {tuple(record.weights.shape)}: "
                f"{problem}. Expected every token to attend to every token, ({batch}, heads, length, length). Use a method of "
                "activations, such as 'gradcam'."
            )
    length = records[-1].weights.shape[-1]
    first = next((position for position in range(len(records), 0, -1) if records[position - 1].weights.shape[-1] != length), 0)
    tokens = token_grid(length, input_size, num_extra_tokens)
    if tokens is None:
        extra = "" if num_extra_tokens is None else f" after {num_extra_tokens} extra tokens"
        raise MethodError(
            f"Not defined for this network: {methods}. The {length} tokens of layer '{records[-1].path}' (attention of shape "
            f"{tuple(records[-1].weights.shape)}){extra} make no grid of the {times(input_size)} input. If some of them "
            "are not positions, give their number: layout=Tokens(num_extra_tokens=…), '--num-extra-tokens'."
        )
    layers = list(records[first:])
    for before, after in itertools.pairwise(layers):
        if not _leads_to(before.weights, after.weights):
            raise MethodError(
                f"Not defined for this network: {methods}. The attention of layer '{after.path}' does not follow from that of "
                f"'{before.path}', recorded before it: they are parallel, in two branches or of two inputs. Expected one chain of "
                "layers. Use a method of activations, such as 'gradcam'."
            )
    return SelfAttention(layers, tokens)


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


def _problem(record: Attention, batch: int) -> str:
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
    blocks = [chain[shared] if len(chain) > shared else "" for chain in chains]
    for layer, block in zip(layers, blocks, strict=True):
        if block not in layer.outputs:
            raise MethodError(
                f"Method '{method}' needs blocks with one attention each that put out tokens (n, length, c); the attention of layer "
                f"'{layer.path}', shape {tuple(layer.weights.shape)}, lies in no such block. Use 'genericattention', which needs none."
            )
    return blocks
