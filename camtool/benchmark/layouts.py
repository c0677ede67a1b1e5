"""What it costs to measure which element of a layer looks where, in forward passes of one sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from camtool.benchmark.timing import seconds
from camtool.errors import times
from camtool.instrumentation.inputs import find_inputs
from camtool.instrumentation.layer_findings import LayerFindings
from camtool.instrumentation.layer_paths import walk
from camtool.instrumentation.module_state import evaluating

ROUNDS = 2


class VideoTransformer(nn.Module):
    """Tubes of 2x16x16 pixels as tokens through transformer blocks, of the size of VideoMAE-B by default."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, tokens: int = 8 * 14 * 14) -> None:
        super().__init__()
        self.patches = nn.Conv3d(3, width, (2, 16, 16), (2, 16, 16))
        self.positions = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 400)

    def forward(self, clips: Tensor) -> Tensor:
        tokens = self.patches(clips).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.encoder(tokens).mean(dim=1))


def _vit_b_16() -> nn.Module:
    from torchvision.models import vit_b_16

    return vit_b_16()


def _mvit_v2_s() -> nn.Module:
    from torchvision.models.video import mvit_v2_s

    return mvit_v2_s()


@dataclass(frozen=True)
class Subject:
    """A network, a layer of it, and the size of its input."""

    name: str
    build: Callable[[], nn.Module]
    layer: str
    size: tuple[int, ...]


SUBJECTS = (
    Subject("vit_b_16", _vit_b_16, "encoder.layers.encoder_layer_11.ln_1", (224, 224)),
    Subject("VideoMAE-B", VideoTransformer, "encoder.layers[11].norm1", (16, 224, 224)),
    Subject("mvit_v2_s", _mvit_v2_s, "blocks[15].norm1", (16, 224, 224)),
)


@dataclass(frozen=True)
class Row:
    """Costs of one network; numbers of forward passes of one sample, medians over rounds."""

    name: str
    size: tuple[int, ...]
    seconds: float
    """Of a forward pass."""
    layer: float
    """Measuring one named layer."""
    every_layer: float
    """Measuring all layers, as `--preview-model` and the search for a default layer do."""


def measured_row(subject: Subject, rounds: int = ROUNDS) -> Row:
    """Return the costs of a network with random weights."""
    torch.manual_seed(0)
    model = subject.build().eval()
    inputs = find_inputs(torch.randn(1, 3, *subject.size))
    layers = dict(walk(model))

    def forward() -> None:
        with evaluating(model), torch.no_grad():
            inputs.run(model)

    def one() -> None:
        LayerFindings(model, inputs).measure({subject.layer: layers[subject.layer]})

    def every() -> None:
        LayerFindings(model, inputs).measure(layers)

    forward()
    taken = [[seconds(part) for part in (forward, one, every)] for _ in range(rounds)]
    forwards, of_one, of_every = (list(parts) for parts in zip(*taken, strict=True))
    ratios = [median(part / whole for part, whole in zip(parts, forwards, strict=True)) for parts in (of_one, of_every)]
    return Row(subject.name, subject.size, median(forwards), *ratios)


def markdown(rows: Sequence[Row], where: str) -> str:
    """Return the table in markdown; `where` names the machine."""
    table = [
        f"Measured on {where}. In forward passes of one sample, medians of {ROUNDS} rounds.",
        "",
        "| network | input | one pass | a named layer | all layers |",
        "|---|---|---|---|---|",
    ]
    table += [f"| {row.name} | {times(row.size)} | {row.seconds:.2f} s | {row.layer:.1f} | {row.every_layer:.1f} |" for row in rows]
    return "\n".join(table)
