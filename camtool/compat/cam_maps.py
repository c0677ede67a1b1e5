"""Rescaled maps of a batch at several layers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from camtool.placement import Placement, placed


@dataclass(frozen=True)
class LayerMaps:
    """Rescaled maps of a batch at each layer."""

    maps: list[Tensor]
    """(n, groups, k, *feature) each."""
    places: list[Placement]
    targets: Tensor
    """(n, k)"""
    logits: Tensor

    def at_size(self, size: tuple[int, ...]) -> Tensor:
        """Return the mean over layers of the maps at the input's size, (n, groups, k, *size)."""
        placed_maps = [
            placed(maps.flatten(0, 2), size, place).unflatten(0, maps.shape[:3]) for maps, place in zip(self.maps, self.places, strict=True)
        ]
        return torch.stack(placed_maps).mean(dim=0)
