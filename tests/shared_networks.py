"""Small networks that call one block several times, and the same ones unrolled: a block of its own for each call."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

CHANNELS = 4
CLASSES = 3


class Reusing(nn.Module):
    """Calls `block` several times; `unrolled()` has `blocks[i]` with the same weights in place of its i-th call.

    Args:
        calls: number of calls.
        use: `use(network, step, *inputs)` returns the output; `step(i, tensor)` is the i-th call.
        make: returns the block.
    """

    def __init__(self, calls: int, use: Callable[..., Any], make: Callable[[], nn.Module], seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.calls = calls
        self.use = use
        self.stem = nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1)
        self.block: nn.Module | None = make()
        self.blocks = nn.ModuleList()
        self.heads = nn.ModuleList(nn.Linear(CHANNELS, CLASSES) for _ in range(calls))
        self.eval()

    def forward(self, *inputs: Tensor) -> Any:
        return self.use(self, lambda number, tensor: (self.block or self.blocks[number])(tensor), *inputs)

    def unrolled(self) -> "Reusing":
        """Return the network with a block for each call."""
        other = copy.deepcopy(self)
        other.blocks = nn.ModuleList(copy.deepcopy(self.block) for _ in range(self.calls))
        other.block = None
        return other.eval()


def convolutions() -> nn.Module:
    """Return a block that keeps the shape; its ReLU works in place."""
    return nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU(inplace=True))


class AttentionBlock(nn.Module):
    """A block of a transformer of CHANNELS numbers a token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, normed)[0]
        return tokens + torch.relu(self.linear(tokens))


def chain(network: Reusing, step: Any, images: Tensor) -> Tensor:
    """Return scores behind all calls, one after the other, as a recurrent block has them."""
    features = network.stem(images)
    for number in range(network.calls):
        features = step(number, features) + features / 2
    return network.heads[0](features.mean((2, 3)))


def scales(network: Reusing, step: Any, images: Tensor) -> Tensor:
    """Return scores of all calls, each of another scale, as a detector's head has them."""
    features = network.stem(images)
    pooled = [step(number, nn.functional.avg_pool2d(features, 2**number)).mean((2, 3)) for number in range(network.calls)]
    return network.heads[0](sum(pooled))


def unused_end(network: Reusing, step: Any, images: Tensor) -> Tensor:
    """Return scores of all calls but the last; that of a stack's end is thrown away, as of auxiliary outputs."""
    features, every = network.stem(images), []
    for number in range(network.calls):
        features = step(number, features)
        every.append(network.heads[number](features.mean((2, 3))))
    return torch.stack(every)[:-1].sum(0)


def siamese(network: Reusing, step: Any, *inputs: Tensor) -> Tensor:
    """Return scores of several pictures, each of which goes through the block once."""
    pooled = [step(number, network.stem(images)).mean((2, 3)) for number, images in enumerate(inputs)]
    return network.heads[0](sum((number + 1) * features for number, features in enumerate(pooled)).sin())


def by_head(network: Reusing, step: Any, images: Tensor) -> dict[str, Any]:
    """Return one head's scores for each call, as of several tasks: the first in front, the others in a dict inside."""
    features, every = network.stem(images), []
    for number in range(network.calls):
        features = step(number, features) + features / 2
        every.append(network.heads[number](features.mean((2, 3))))
    return {"first": every[0], "others": {f"task{number}": scores for number, scores in enumerate(every) if number}}


def pictures(count: int = 2, size: int = 16, seed: int = 1) -> Tensor:
    """Return seeded pictures (count, 3, size, size)."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
