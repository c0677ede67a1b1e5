"""Small networks of volumes, and volumes for them."""

import torch
from torch import Tensor, nn


def classifier() -> nn.Sequential:
    """Return a network of three classes; features are at [1] and, half as large, at [3]."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(4, 6, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()


def segmenter() -> nn.Sequential:
    """Return a network of two classes by voxel; features are at [1]."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1)).eval()


def volumes(count: int) -> Tensor:
    """Return inputs (count, 2, 8, 10, 12)."""
    return torch.randn(count, 2, 8, 10, 12, generator=torch.Generator().manual_seed(0))
