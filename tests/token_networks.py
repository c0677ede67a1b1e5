"""Tiny networks whose cells stand at known places of known axes, and Grad-CAM by hand from that knowledge.

Nothing here asks camtool how a layer is read: `Arrangement.maps` puts a layer's cells where the network was built to have them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.networks import CONV

CLASSES = 4


@dataclass(frozen=True)
class Arrangement:
    """Where the cells of `grid` stand in a tensor of tokens."""

    grid: tuple[int, ...]
    front: int = 0
    middle: int = 0
    behind: int = 0
    order: Tensor | None = None
    """The raster index of the cell at each place in memory; None: raster order."""
    axes: str = "nlc"

    @property
    def cells(self) -> int:
        return math.prod(self.grid)

    @property
    def extra(self) -> int:
        return self.front + self.middle + self.behind

    @property
    def length(self) -> int:
        return self.cells + self.extra

    def tokens(self, maps: Tensor, extra: Tensor) -> Tensor:
        """Return the tokens (n, length, c) of maps (n, c, *grid) and extra tokens (n, extra, c)."""
        cells = maps.flatten(2).transpose(1, 2)
        if self.order is not None:
            cells = cells[:, self.order]
        half = self.cells // 2
        front, middle, behind = extra.split([self.front, self.middle, self.behind], dim=1)
        return torch.cat([front, cells[:, :half], middle, cells[:, half:], behind], dim=1)

    def maps(self, tensor: Tensor) -> Tensor:
        """Return the maps (n, c, *grid) of a tensor with these axes."""
        tokens = tensor.permute([self.axes.index(axis) for axis in "nlc"])
        begin = self.front + self.cells // 2
        first, second = tokens[:, self.front : begin], tokens[:, begin + self.middle : self.length - self.behind]
        cells = torch.cat([first, second], dim=1)
        if self.order is not None:
            cells = cells[:, self.order.argsort()]
        return cells.transpose(1, 2).unflatten(2, self.grid)


def raster_order(kind: str, grid: Sequence[int], seed: int = 0) -> Tensor | None:
    """Return the raster indices of cells in an order: "raster", "column-major", "windows", "snake", "backwards" or "shuffled"."""
    cells = torch.arange(math.prod(grid)).reshape(*grid)
    if kind == "column-major":
        return cells.permute(*reversed(range(cells.ndim))).flatten()
    if kind == "windows":  # windows of two cells an axis, one behind the other, as Hiera's mask units
        within = cells.reshape([part for axis in grid for part in (axis // 2, 2)])
        return within.permute(*range(0, within.ndim, 2), *range(1, within.ndim, 2)).flatten()
    if kind == "snake":
        rows = cells.reshape(-1, grid[-1]).clone()
        rows[1::2] = rows[1::2].flip(1)
        return rows.flatten()
    if kind == "backwards":
        return cells.flatten().flip(0)
    if kind == "shuffled":
        return torch.randperm(cells.numel(), generator=torch.Generator().manual_seed(seed))
    assert kind == "raster", kind
    return None


class Block(nn.Module):
    """A transformer block on (n, length, c), (length, n, c) or (n, c, length)."""

    def __init__(self, width: int, axes: str = "nlc", norm: Callable[[int], nn.Module] = nn.LayerNorm, *, residual: bool = True) -> None:
        super().__init__()
        self.axes, self.residual = axes, residual
        self.norm1 = norm(width)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=axes != "lnc")
        self.norm2 = norm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens.transpose(1, 2) if self.axes == "ncl" else tokens
        normed = self.norm1(tokens)
        mixed = self.attention(normed, normed, normed, need_weights=False)[0]
        tokens = tokens + mixed if self.residual else mixed
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2) if self.axes == "ncl" else tokens


class TokenNet(nn.Module):
    """A transformer over patches; `arrangement` is the truth about `blocks[i]` and, but for (n, c, length), their norms."""

    def __init__(
        self,
        size: Sequence[int],
        patch: int | Sequence[int],
        *,
        stride: int | Sequence[int] | None = None,
        width: int = 16,
        channels: int = 3,
        extra: Sequence[int] = (0, 0, 0),
        order: str = "raster",
        axes: str = "nlc",
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        residual: bool = True,
        pool: str = "mean",
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.patches = CONV[len(size)](channels, width, patch, stride or patch)
        with torch.no_grad():
            grid = tuple(self.patches(torch.zeros(1, channels, *size)).shape[2:])
        self.arrangement = Arrangement(grid, *extra, order=raster_order(order, grid), axes=axes)
        self.extra = nn.Parameter(torch.randn(1, self.arrangement.extra, width))
        self.position = nn.Parameter(torch.randn(1, self.arrangement.length, width) / 2)
        self.blocks = nn.ModuleList(Block(width, axes, norm, residual=residual) for _ in range(depth))
        self.norm = norm(width)
        self.head = nn.Linear(width, CLASSES)
        self.pool = pool

    def tokens(self, pictures: Tensor) -> Tensor:
        """Return the normed tokens (n, length, c) behind the last block."""
        maps = self.patches(pictures)
        tokens = self.arrangement.tokens(maps, self.extra.expand(len(maps), -1, -1)) + self.position
        axes = self.arrangement.axes
        tokens = tokens.permute(["nlc".index(axis) for axis in axes])
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens.permute([axes.index(axis) for axis in "nlc"]))

    def pooled(self, pictures: Tensor) -> Tensor:
        tokens = self.tokens(pictures)
        return tokens[:, 0] if self.pool == "token" else tokens.mean(1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.pooled(pictures))


class FixedBatch(nn.Module):
    """A network that takes batches of one size only."""

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network, self.count = network, count

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network(pictures.reshape(self.count, *pictures.shape[1:]))


class ChannelsLastBlock(nn.Module):
    """(n, c, *grid) in, (n, *grid, c) out; or (n, c, *grid) again, as ConvNeXt's blocks, whatever norm they have inside."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module], *, back: bool) -> None:
        super().__init__()
        self.norm = norm(width)
        self.mix = nn.Parameter(torch.randn(width, width) / math.sqrt(width))
        self.back = back

    def forward(self, maps: Tensor) -> Tensor:
        cells = self.norm(maps.movedim(1, -1)) @ self.mix
        return cells.movedim(-1, 1) + maps if self.back else cells + maps.movedim(1, -1)


class CellNet(nn.Module):
    """Convolutions, one after the other, and a block behind them that gives (n, c, *grid) or (n, *grid, c).

    Args:
        norm: a norm over the channels inside the block, which says nothing of its output's axes; None: a plain convolution.
    """

    def __init__(self, rank: int, stride: int, width: int, *, last: bool = False, norm: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        self.last = last
        self.stem = CONV[rank](3, width, stride, stride)
        plain = not last and norm is None
        self.block = CONV[rank](width, width, 3, padding=1) if plain else ChannelsLastBlock(width, norm or nn.RMSNorm, back=not last)
        self.head = nn.Linear(width, CLASSES)

    def maps(self, tensor: Tensor) -> Tensor:
        return tensor.movedim(-1, 1) if self.last else tensor

    def forward(self, pictures: Tensor) -> Tensor:
        cells = self.maps(self.block(self.stem(pictures).relu()))
        return self.head(cells.tanh().flatten(2).mean(2))


class RecurrentSignal(nn.Module):
    """A 1-D convolution and a GRU on (n, length, c), or (length, n, c)."""

    def __init__(self, *, batch_first: bool = True, stride: int = 10) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 16, stride, stride)
        self.recurrent = nn.GRU(16, 12, batch_first=batch_first, bidirectional=True)
        self.head = nn.Linear(24, CLASSES)
        self.batch_first = batch_first

    def maps(self, tensor: Tensor) -> Tensor:
        return tensor.transpose(1, 2) if self.batch_first else tensor.permute(1, 2, 0)

    def forward(self, signals: Tensor) -> Tensor:
        features = self.convolution(signals).relu()
        states = self.recurrent(features.transpose(1, 2) if self.batch_first else features.permute(2, 0, 1))[0]
        return self.head(states.tanh().mean(1 if self.batch_first else 0))


class Words(nn.Module):
    """The embedding (n, width) of texts (n, words) of word numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def forward(self, words: Tensor) -> Tensor:
        tokens = self.embedding(words)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens).mean(1)


class PicturesAndWords(nn.Module):
    """Two towers, as CLIP: the similarity (n, k) of n pictures and k texts. The text tower is the last to run."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.vision = TokenNet((32, 32), 8, width=width, extra=(1, 0, 0), pool="token")
        self.text = Words(width)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        return self.vision.pooled(pixel_values) @ self.text(input_ids).T


class WordsOfPictures(nn.Module):
    """A caption that looks at the picture by cross-attention, as BLIP's decoder: scores (n, classes)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.vision = TokenNet((32, 32), 8, width=width, extra=(1, 0, 0))
        self.embedding = nn.Embedding(50, width)
        self.decoder = Queried(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        return self.head(self.decoder(self.embedding(input_ids), self.vision.tokens(pixel_values)).mean(1))


class Queried(nn.Module):
    """Queries (n, q, c) that read a memory (n, length, c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.block = Block(width)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        return self.block(self.norm(queries + self.attention(queries, memory, memory, need_weights=False)[0]))


class QueryNet(nn.Module):
    """Learned queries, object queries or latents, read the picture's cells; scores by query and their mean."""

    def __init__(self, queries: int, width: int = 16) -> None:
        super().__init__()
        self.encoder = TokenNet((32, 32), 4, width=width)
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.decoder = Queried(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.decoder(self.queries.expand(len(pictures), -1, -1), self.encoder.tokens(pictures))).mean(1)


class AttentionHead(nn.Module):
    """Tokens pooled by attention whose weights (n, heads, queries, keys) are a layer's output: `weights`."""

    def __init__(self, *, square: bool, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.body = TokenNet((64, 64), 16, width=width)  # 4x4 tokens; 16x16 numbers of attention are a grid of stride 4
        self.query = nn.Parameter(torch.randn(1, 1, width))
        self.keys = nn.Linear(width, width)
        self.weights = nn.Softmax(dim=-1)
        self.head = nn.Linear(width, CLASSES)
        self.square, self.heads = square, heads

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self.body.tokens(pictures)
        queries = tokens if self.square else self.query.expand(len(tokens), -1, -1)
        split = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (queries, self.keys(tokens), tokens)]
        read = self.weights(split[0] @ split[1].transpose(2, 3)) @ split[2]
        return self.head(read.transpose(1, 2).flatten(2).mean(1))


class TwoBranches(nn.Module):
    """Two transformers of different patches, as CrossViT: each one's class token reads the tokens of the other."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.coarse = TokenNet((32, 32), 8, width=width, extra=(1, 0, 0))
        self.fine = TokenNet((32, 32), 4, width=width, extra=(1, 0, 0))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, CLASSES)
        self.heads = heads

    def forward(self, pictures: Tensor) -> Tensor:
        coarse, fine = self.norms[0](self.coarse.tokens(pictures)), self.norms[1](self.fine.tokens(pictures))
        read = []
        for tokens, others in ((fine, coarse), (coarse, fine)):
            query, keys = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (tokens[:, :1], others))
            read.append((self.dropout((query @ keys.transpose(2, 3)).softmax(-1)) @ keys).flatten(1))
        return self.head(read[0] + read[1])


class Windows(nn.Module):
    """(n, c, h, w) in, windows of 4x4 cells folded into the batch out: (n * windows, 16, c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(F.unfold(maps, 4, stride=4).unflatten(1, (maps.shape[1], 16)).permute(0, 3, 2, 1).flatten(0, 1))


class WindowNet(nn.Module):
    """Attention in four windows of 4x4 cells; `windows` holds them in the batch axis."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.windows = Windows(width)
        self.block = Block(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.block(self.windows(self.stem(pictures))).unflatten(0, (len(pictures), -1)).mean((1, 2)))


class Anchors(nn.Module):
    """Scores (n, cells * anchors, classes) of boxes, several at a cell, one behind the other, as detectors list them."""

    def __init__(self, width: int, anchors: int, classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, anchors * classes, 1)
        self.classes = classes

    def forward(self, maps: Tensor) -> Tensor:
        scores = self.convolution(maps)
        return scores.unflatten(1, (-1, self.classes)).permute(0, 3, 4, 1, 2).flatten(1, 3)


class Detector(nn.Module):
    """A convolution, and a head whose `boxes` gives the scores of all anchors."""

    def __init__(self, anchors: int = 3) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 8, 8)
        self.boxes = Anchors(8, anchors, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.boxes(self.body(pictures).tanh()).sigmoid().mean(1)


class MixedTokens(nn.Module):
    """Tokens, and `mixing` behind them: every element of it depends on all of the picture."""

    def __init__(self, size: Sequence[int] = (32, 32), patch: int = 8, width: int = 36) -> None:
        super().__init__()
        self.body = TokenNet(size, patch, width=width)
        self.mixing = Mixing(self.body.arrangement.length, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.mixing(self.body.tokens(pictures)).tanh().mean(1))


class Mixing(nn.Module):
    """Each output token and channel a random mixture of all of them: a position-free layer of tokens."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(length * width, length * width) / math.sqrt(length * width))

    def forward(self, tokens: Tensor) -> Tensor:
        return (tokens.flatten(1) @ self.weight).unflatten(1, tokens.shape[1:])


class RolledTokens(nn.Module):
    """A transformer that rolls its tokens between its blocks, or drops some of them: attention that cannot be chained."""

    def __init__(self, change: Callable[[Tensor], Tensor], width: int = 16) -> None:
        super().__init__()
        self.body = TokenNet((32, 32), 8, width=width, extra=(1, 0, 0))
        self.later = Block(width)
        self.head = nn.Linear(width, CLASSES)
        self.change = change

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.later(self.change(self.body.tokens(pictures)))[:, 0])


def pictures(size: Sequence[int], count: int = 2, channels: int = 3, seed: int = 5) -> Tensor:
    """Return seeded noise (count, channels, *size)."""
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


def words(count: int, length: int, seed: int = 6) -> Tensor:
    """Return seeded word numbers (count, length)."""
    return torch.randint(0, 50, (count, length), generator=torch.Generator().manual_seed(seed))


def by_hand(
    network: nn.Module,
    layer: nn.Module,
    arguments: Any,
    score: Callable[[Any], Tensor],
    maps: Callable[[Tensor], Tensor],
    method: str = "gradcam",
    call: int = 0,
) -> Tensor:
    """Return the raw map (n, *grid) of Grad-CAM or HiResCAM at a call of a layer whose cells `maps` arranges."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    handle = layer.register_forward_hook(keep)
    output = network(**arguments) if isinstance(arguments, dict) else network(arguments)
    handle.remove()
    (gradients,) = torch.autograd.grad(score(output), kept[call])
    wide = torch.promote_types(kept[call].dtype, torch.float32)
    activations, gradients = maps(kept[call].detach()).to(wide), maps(gradients).to(wide)
    if method == "gradcam":
        gradients = gradients.mean(dim=tuple(range(2, gradients.ndim)), keepdim=True)
    else:
        assert method == "hirescam", method
    return (gradients * activations).sum(1)
