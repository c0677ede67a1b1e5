"""Tensor shapes shared by many signatures: `n` samples, `c` channels, `*spatial` one axis or more."""

from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

Maps: TypeAlias = Float[Tensor, "n c *spatial"]
"""Activations or gradients of a target layer, converted by its layout."""

Weights: TypeAlias = Float[Tensor, "#n c *#spatial"]
"""Factors of the activations: one per channel (spatial axes of size 1), or one per channel and position."""

RawMap: TypeAlias = Float[Tensor, "n *spatial"]
"""One signed map per sample."""
