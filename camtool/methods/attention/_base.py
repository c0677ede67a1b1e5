"""What a method of attention is: the relevance of every token, made of attention weights and their gradients."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.methods._base import ATTENTION, BaseMethod

PerHead: TypeAlias = Float[Tensor, "n heads length length"]
"""Something of every query (rows) and key (columns)."""


@dataclass(frozen=True)
class AttentionEvidence:
    """What one forward pass (and its backward) of one target tells about all attention layers, first to last, float32 or wider."""

    weights: Sequence[PerHead]
    scores: Sequence[PerHead]
    """Before the softmax, scale and masks included."""
    rows: Bool[Tensor, "n length"]
    """The queries of the last layer that the target's scalar reads: the class token, or all patches where these are pooled."""
    gradients: Sequence[PerHead] | None = None
    """Of the target's scalar with respect to the weights; None unless the method asked for them."""
    layer_gradients: Sequence[PerHead] | None = None
    """Of the scalar that each layer's own tokens give, with respect to that layer's weights; None unless asked for."""

    def read(self, relevance: Float[Tensor, "n length length"]) -> Float[Tensor, "n length"]:
        """Return the relevance of every key to what the scores read: the mean over those rows."""
        rows = self.rows.to(relevance.dtype).unsqueeze(1)  # (n, 1, length)
        return (rows @ relevance).squeeze(1) / rows.sum(dim=2)


class AttentionMethod(BaseMethod, ABC):
    """Base of methods that read all attention of a network, and no target layer."""

    cost = "1 forward + 1 backward"
    reads = ATTENTION

    @abstractmethod
    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        """Return the relevance of every token (n, length), extra tokens included."""

    def gradients(self, evidence: AttentionEvidence) -> Sequence[PerHead]:
        """Return the gradients that were asked for; MethodError if they were not."""
        if evidence.gradients is None:
            raise MethodError(f"Method '{self.name}' needs gradients.")
        return evidence.gradients


def identity_like(attention: Float[Tensor, "n length length"]) -> Float[Tensor, "length length"]:
    """Return what a skip connection passes on: every token to itself."""
    return torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)


def rolled_out(layers: Sequence[Float[Tensor, "n length length"]]) -> Float[Tensor, "n length length"]:
    """Return the product over layers, last times first, of attention + identity with rows that sum to 1."""
    total = None
    for attention in layers:
        mixed = attention + identity_like(attention)
        mixed = mixed / mixed.sum(dim=-1, keepdim=True)
        total = mixed if total is None else mixed @ total
    assert total is not None, "a network without attention is refused before"
    return total
