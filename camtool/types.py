"""Shapes that recur in signatures. `n` samples, `c` channels, `*spatial` one axis or more."""

from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

Maps: TypeAlias = Float[Tensor, "n c *spatial"]
"""Activations or gradients of a target layer, after its layout."""

Weights: TypeAlias = Float[Tensor, "#n c *#spatial"]
"""What a method multiplies activations with: one value a channel (spatial axes of 1), or one a position."""

RawMap: TypeAlias = Float[Tensor, "n *spatial"]
"""One signed map a sample."""
