"""Base class of attention methods: the relevance of every token from attention weights and their gradients."""

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
"""Values for every query (rows) and key (columns)."""


@dataclass(frozen=True)
class AttentionEvidence:
    """Results of one forward (and backward) pass at all attention layers, first to last, for one target, in float32 or wider.

    Example:
        >>> import torch
        >>> from camtool.methods import AttentionEvidence
        >>> weights = torch.tensor([[[[0.75, 0.25], [0.5, 0.5]]]])
        >>> evidence = AttentionEvidence([weights], [weights.log()], rows=torch.tensor([[True, False]]))
        >>> evidence.read(weights[:, 0])  # what the first token, which the score reads, takes from each token
        tensor([[0.7500, 0.2500]])
    """

    weights: Sequence[PerHead]
    scores: Sequence[PerHead]
    """The softmax's input, scale and masks included."""
    rows: Bool[Tensor, "n length"]
    """The queries of the last layer that the target's score depends on: the class token, or all patches if they are pooled."""
    gradients: Sequence[PerHead] | None = None
    """Gradients of the target's score with respect to the weights; None unless the method needs them."""
    layer_gradients: Sequence[PerHead] | None = None
    """Gradients of the score of each layer's own tokens with respect to its weights; None unless the method needs them."""

    def read(self, relevance: Float[Tensor, "n length length"]) -> Float[Tensor, "n length"]:
        """Return the relevance of every key to the score: the mean over the rows that it depends on."""
        rows = self.rows.to(relevance.dtype).unsqueeze(1)  # (n, 1, length)
        return (rows @ relevance).squeeze(1) / rows.sum(dim=2)


class AttentionMethod(BaseMethod, ABC):
    """Base class of methods that use all attention layers of a network and no target layer.

    Example:
        >>> import torch
        >>> from camtool.methods import AttentionEvidence, AttentionMethod
        >>> class LastAttention(AttentionMethod):
        ...     name, paper = "lastattention", "none"
        ...     def raw_map(self, evidence):
        ...         return evidence.read(evidence.weights[-1].mean(dim=1))
        >>> weights = torch.tensor([[[[0.75, 0.25], [0.5, 0.5]]]])
        >>> LastAttention().raw_map(AttentionEvidence([weights], [weights.log()], torch.tensor([[True, False]])))
        tensor([[0.7500, 0.2500]])
    """

    cost = "1 forward + 1 backward"
    reads = ATTENTION

    @abstractmethod
    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        """Return the relevance of every token (n, length), extra tokens included."""

    def layers_read(self, layers: Sequence[str]) -> list[str]:
        """Return those of all attention layers that the map is made of: all unless overridden."""
        return list(layers)

    def gradients(self, evidence: AttentionEvidence) -> Sequence[PerHead]:
        """Return the gradients of the evidence; MethodError if it has none."""
        if evidence.gradients is None:
            raise MethodError(f"Method '{self.name}' needs gradients; declare needs = Needs(gradients=True).")
        return evidence.gradients


def identity_like(attention: Float[Tensor, "n length length"]) -> Float[Tensor, "length length"]:
    """Return the identity matrix, the attention of a skip connection."""
    return torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)


def rolled_out(layers: Sequence[Float[Tensor, "n length length"]]) -> Float[Tensor, "n length length"]:
    """Return the matrix product over layers, the last one leftmost, of attention + identity with rows scaled to sum 1."""
    total = None
    for attention in layers:
        mixed = attention + identity_like(attention)
        mixed = mixed / mixed.sum(dim=-1, keepdim=True)
        total = mixed if total is None else mixed @ total
    assert total is not None, "the engine refuses networks without attention"
    return total
