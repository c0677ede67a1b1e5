"""The networks that are measured: torchvision's, with seeded random weights, and a tiny one that checks function only."""

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
    "vit_b_16": "encoder.layers.encoder_layer_11.ln_1",  # camtool's own default; layers behind the last attention have no gradient
    TINY: "layer4",
}
"""By network the layer that is explained."""

EXTRA_TOKENS = {"vit_b_16": 1}


@dataclass(frozen=True)
class Subject:
    """What every contestant of a case gets."""

    model: nn.Module
    layer: str
    inputs: Tensor
    """(n, 3, h, w)"""
    classes: list[list[int]]
    """(n, k): of each sample the classes to explain, most probable first."""
    extra_tokens: int | None
    """Tokens in front of the grid; None: the layer's maps are (n, c, h, w)."""

    def in_float64(self) -> "Subject":
        """Return the same in float64."""
        return replace(self, model=copy.deepcopy(self.model).double(), inputs=self.inputs.double())


def build(name: str, device: str) -> nn.Module:
    """Return a network of LAYERS in eval mode on its device, its parameters asking for gradients as a user's do."""
    if name == TINY:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = TinyNet().eval().to(device)
    else:
        model = load_network(load_config(f"torchvision/{name}"), random_weights=True, device=device).model
    _damp(model)
    settle_norms(model, _pictures(name, 2, device))
    return model.requires_grad_(True)


def _damp(model: nn.Module) -> None:
    """Let the residual branches of a ResNet add little: with random weights they amplify rounding, bfloat16's to 11 % of the scores."""
    for name, norm in model.named_modules():
        if name.endswith((".bn2", ".bn3")):
            nn.init.constant_(norm.get_parameter("weight"), 0.25)


def subject(name: str, model: nn.Module, batch: int, classes: int, device: str) -> Subject:
    """Return what is explained: `batch` seeded random pictures, and the most probable classes of each."""
    inputs = _pictures(name, batch, device)
    with torch.inference_mode():
        chosen = model(inputs).topk(classes, dim=1).indices.tolist()
    return Subject(model, LAYERS[name], inputs, chosen, EXTRA_TOKENS.get(name))


def _pictures(name: str, batch: int, device: str) -> Tensor:
    size = 32 if name == TINY else 224
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)


class TinyNet(nn.Module):
    """Three convolutions and a linear layer, shaped as a ResNet is: `layer4` is a block that ends in a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _block(3, 4, stride=2)
        self.layer3 = _block(4, 8, stride=2)
        self.layer4 = _block(8, 16, stride=2)
        self.fc = nn.Linear(16, 12)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.layer4(self.layer3(self.stem(pictures))).mean(dim=(2, 3)))


def _block(channels: int, wider: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, wider, 3, stride, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU())
