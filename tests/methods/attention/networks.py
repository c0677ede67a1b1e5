"""A ViT whose attention can be looked at without camtool, and one whose answer is known by hand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 4


class PlainBlock(nn.Module):
    """Pre-norm; `fused` calls the fused kernel, else the weights are written out and kept."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.heads = heads
        self.fused = True
        self.scores: Tensor
        self.weights: Tensor
        self.tokens: Tensor

    def forward(self, tokens: Tensor) -> Tensor:
        n, length, width = tokens.shape
        query, key, value = self.qkv(self.norm1(tokens)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            self.scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
            self.weights = self.scores.softmax(dim=-1)
            mixed = self.weights @ value
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        tokens = tokens + self.mlp(self.norm2(tokens))
        if not self.fused:
            self.tokens = tokens
        return tokens


class PlainViT(nn.Module):
    """Patches of any rank, a class token (read, or dropped where patches are pooled), blocks, norm, linear head."""

    def __init__(self, rank: int = 2, *, pooled: bool = False, depth: int = 3, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
        self.patches = conv(2, width, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(PlainBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)
        self.dropout = nn.Dropout(0.5)
        self.pooled = pooled

    def tail(self, tokens: Tensor) -> Tensor:
        tokens = self.norm(tokens)
        return self.head(self.dropout(tokens[:, 1:].mean(dim=1) if self.pooled else tokens[:, 0]))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.tail(tokens)


def plain_vit(rank: int = 2, *, pooled: bool = False, depth: int = 3, double: bool = True) -> PlainViT:
    torch.manual_seed(7)
    model = PlainViT(rank, pooled=pooled, depth=depth).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)  # attention that is far from uniform
    return model.double() if double else model


class PlantedBlock(nn.Module):
    """One head of width 1: token i, (score s_i, value v_i), is seen with weight softmax(s)_i by every token."""

    def forward(self, tokens: Tensor) -> Tensor:
        score, value = tokens.unsqueeze(1).split(1, dim=-1)  # (n, 1 head, length, 1)
        return F.scaled_dot_product_attention(torch.ones_like(score), score, value, scale=1.0).squeeze(1)


class Planted(nn.Module):
    """Every position a token behind a class token (0, 0); class 0 is what the class token takes in, class 1 its negative."""

    def __init__(self) -> None:
        super().__init__()
        self.block = PlantedBlock()

    def forward(self, image: Tensor) -> Tensor:
        tokens = torch.cat([torch.zeros(len(image), 1, 2, dtype=image.dtype), image.flatten(2).transpose(1, 2)], dim=1)
        taken = self.block(tokens)[:, 0]
        return torch.cat([taken, -taken], dim=1)
