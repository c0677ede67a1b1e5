"""Networks of the benchmark: torchvision's with seeded random weights, and a tiny one for tests of function."""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from camtool.benchmark.coverage import settle_norms
from camtool.config.loading import load_config
from camtool.models.loading import load_network

TINY = "tiny"
LAYERS = {
    "resnet50": "layer4",
    "resnet18": "layer4",
    "vit_b_16": "encoder.layers.encoder_layer_11.ln_1",  # camtool's default; layers after the last attention have no gradient
    TINY: "layer4",
}
"""Target layer of each network."""

EXTRA_TOKENS = {"vit_b_16": 1}
"""Tokens before the grid of patches, of networks with tokens."""


@dataclass(frozen=True)
class Subject:
    """Network, layer, inputs and classes of a case, the same for every contestant."""

    model: nn.Module
    layer: str
    inputs: Tensor
    """(n, 3, h, w)"""
    classes: list[list[int]]
    """(n, k): classes to explain for each sample, most probable first."""
    extra_tokens: int | None
    """Tokens before the grid of patches; None: the layer's output is (n, c, h, w)."""

    def in_float64(self) -> "Subject":
        """Return a copy with network and inputs in float64."""
        return replace(self, model=copy.deepcopy(self.model).double(), inputs=self.inputs.double())


def build(name: str, device: str) -> nn.Module:
    """Return a network of LAYERS in eval mode on its device; its parameters require gradients, as a user's do."""
    if name == TINY:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = TinyNet().eval().to(device)
    else:
        model = load_network(load_config(f"torchvision/{name}"), random_weights=True, device=device).model
    _damp(model)
    settle_norms(model, _images(name, 2, device))
    return model.requires_grad_(True)


def _damp(model: nn.Module) -> None:
    """Scale down the residual branches of a ResNet, which with random weights amplify rounding (in bfloat16 to 11 % of the scores)."""
    for name, norm in model.named_modules():
        if name.endswith((".bn2", ".bn3")):
            nn.init.constant_(norm.get_parameter("weight"), 0.25)


def subject(name: str, model: nn.Module, batch: int, classes: int, device: str) -> Subject:
    """Return the subject with `batch` seeded random images and the most probable `classes` of each."""
    inputs = _images(name, batch, device)
    with torch.inference_mode():
        top_classes = model(inputs).topk(classes, dim=1).indices.tolist()
    return Subject(model, LAYERS[name], inputs, top_classes, EXTRA_TOKENS.get(name))


def _images(name: str, batch: int, device: str) -> Tensor:
    size = 32 if name == TINY else 224
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)


class TinyNet(nn.Module):
    """Three convolutions and a linear layer; `layer4` is a block that ends in a ReLU, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _block(3, 4, stride=2)
        self.layer3 = _block(4, 8, stride=2)
        self.layer4 = _block(8, 16, stride=2)
        self.fc = nn.Linear(16, 12)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.layer4(self.layer3(self.stem(images))).mean(dim=(2, 3)))


def _block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU())
