"""Small networks for one to three spatial axes, and what autograd says of them without camtool."""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn

from camtool.layouts import Layout, fit_layout

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
GAP = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
SIZES = {1: (20,), 2: (10, 14), 3: (6, 8, 10)}
RANKS = (1, 2, 3)
CLASSES = 4


class SmallNet(nn.Module):
    """Two blocks with BatchNorm and in-place ReLU, global average pooling, one linear layer. `late` is what is pooled."""

    def __init__(self, rank: int = 2, classes: int = CLASSES) -> None:
        super().__init__()
        self.early = nn.Sequential(CONV[rank](2, 5, 3, stride=2, padding=1), NORM[rank](5), nn.ReLU(inplace=True))
        self.late = nn.Sequential(CONV[rank](5, 6, 3, padding=1), NORM[rank](6), nn.ReLU(inplace=True))
        self.pool = GAP[rank](1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(6, classes)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.pool(self.late(self.early(images))).flatten(1)
        return self.fc(self.dropout(pooled))


def small_net(rank: int = 2, *, double: bool = False) -> SmallNet:
    """Return a seeded SmallNet in eval mode, its BatchNorms with statistics that are not the initial ones."""
    torch.manual_seed(1)
    model = SmallNet(rank).eval()
    for module in model.modules():
        if isinstance(module, tuple(NORM.values())):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.4)
    return model.double() if double else model


def images(rank: int = 2, count: int = 2, channels: int = 2, *, double: bool = False, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, *SIZES[rank], generator=generator, dtype=torch.float64 if double else torch.float32)


def autograd_evidence(model: nn.Module, layer: nn.Module, inputs: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return (activations, gradients of the classes' scores, logits) of a layer, by the plainest means: the whole graph, kept."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # an in-place layer behind it must not change it

    handle = layer.register_forward_hook(keep)
    logits = model(inputs.clone().requires_grad_())
    handle.remove()
    score = sum(logits[sample, index] for sample, index in enumerate(classes))
    (gradients,) = torch.autograd.grad(score, kept)
    return kept[0].detach(), gradients, logits.detach()


def small_vit() -> nn.Module:
    """Return a seeded ViT of torchvision: 64x64 input, 4x4 patches behind a class token, three blocks."""
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(image_size=64, patch_size=16, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32)
    nn.init.normal_(network.heads.head.weight)  # torchvision starts it at zero, where nothing has a gradient
    return network.eval()


class Contrary(nn.Module):
    """Prefers class 1 on the input as it is and class 0 on its mirror image: what re-choosing would mix."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.features(image)
        half = image.shape[-1] // 2
        return torch.stack([(maps[:, 0, :, half:] ** 2).sum((1, 2)), (maps[:, 1, :, :half] ** 2).sum((1, 2))], dim=1)


def contrary() -> tuple[Contrary, Tensor]:
    """Return the network and a picture of which it says 1, and 0 mirrored."""
    model = Contrary()
    with torch.no_grad():
        model.features.weight.fill_(1)
        model.features.bias.fill_(0.1)
    image = torch.zeros(1, 1, 8, 8)
    image[..., :4] = torch.rand(4)
    assert model(image).argmax().item() == 1
    assert model(image.flip(-1)).argmax().item() == 0
    return model, image


class ByShape:
    """Layouts from shapes alone, as of networks that have to be measured nowhere."""

    def fit(self, tensor: Tensor, path: str, *, batch: int, input_size: Sequence[int], index: int = 0) -> Layout:
        return fit_layout(tensor, batch, input_size)

    def require_measured(self) -> None:
        """Nothing is refused for that."""
