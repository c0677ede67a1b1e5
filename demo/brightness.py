"""Example of a network on volumes and signals whose maps are known: its classes are what is bright and what is dark.

Used by `configs/torch_model/bright_volume.py` and `bright_signal.py`. Nothing is trained: the activation of "bright" is by how much a
position exceeds the threshold, that of "dark" by how much it falls short of it, and a score is the mean of its activation.
"""

import torch
from torch import Tensor, nn

CONVOLUTIONS = {1: nn.Conv1d, 3: nn.Conv3d}


class Brightness(nn.Module):
    """Scores (n, 2) of bright and dark for inputs (n, 1, *spatial).

    Args:
        axes: number of spatial axes, 1 or 3.
        threshold: between bright and dark.
    """

    def __init__(self, axes: int, threshold: float) -> None:
        super().__init__()
        self.excess = CONVOLUTIONS[axes](1, 2, kernel_size=1)
        self.positive = nn.ReLU()
        with torch.no_grad():
            self.excess.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, *[1] * axes))
            self.excess.bias.copy_(torch.tensor([-threshold, threshold]))  # type: ignore[union-attr]

    def forward(self, values: Tensor) -> Tensor:
        return self.positive(self.excess(values)).flatten(2).mean(dim=2)
