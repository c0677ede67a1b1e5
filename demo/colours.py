"""A network of one's own, with two inputs and an answer known by hand: which colour is there, and how much of it?

`configs/torch_model/colours.py` runs it. Nothing is trained: a colour's activation is how far its channel exceeds the mean of the
other two, and its score is the activation's mean plus a prior. So the map of "red" is exactly where the picture is red.
"""

import torch
from torch import Tensor, nn


class Colours(nn.Module):
    """Scores (n, 3) of red, green and blue, from a picture (n, 3, h, w) in [0, 1] and a prior (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.opponents = nn.Conv2d(3, 3, kernel_size=1, bias=False)
        self.excess = nn.ReLU()
        with torch.no_grad():
            self.opponents.weight.copy_((1.5 * torch.eye(3) - 0.5).view(3, 3, 1, 1))

    def forward(self, picture: Tensor, prior: Tensor) -> Tensor:
        activations = self.excess(self.opponents(picture))
        return activations.mean(dim=(2, 3)) + prior
