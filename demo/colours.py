"""Example of your own network with two inputs, whose maps are known: it scores the colours red, green and blue.

Used by `configs/torch_model/colours.py`. Nothing is trained: the activation of a colour is the excess of its channel over the mean of the
other two, and its score is the mean activation plus a prior. So the map of "red" is exactly where the image is red.
"""

import torch
from torch import Tensor, nn


class Colours(nn.Module):
    """Scores (n, 3) of red, green and blue for images (n, 3, h, w) in [0, 1] and a prior (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.opponents = nn.Conv2d(3, 3, kernel_size=1, bias=False)
        self.excess = nn.ReLU()
        with torch.no_grad():
            self.opponents.weight.copy_((1.5 * torch.eye(3) - 0.5).view(3, 3, 1, 1))

    def forward(self, picture: Tensor, prior: Tensor) -> Tensor:
        activations = self.excess(self.opponents(picture))
        return activations.mean(dim=(2, 3)) + prior
