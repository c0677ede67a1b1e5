"""A faster copy's maps beside the network's own forward pass, made as fast by torch alone."""

import copy
import statistics
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from camtool import CAM
from camtool.benchmark.timing import seconds
from camtool.instrumentation.acceleration import build_speed

LATEST = 1.08
"""Asked: maps take at most so much of the own forward pass."""


@dataclass(frozen=True)
class Subject:
    """A network, by what makes it, and the size of its input."""

    name: str
    build: Callable[[], nn.Module]
    layer: str
    size: tuple[int, ...]
    batch: int = 8


def _resnet50() -> nn.Module:
    from torchvision.models import resnet50

    return resnet50()


SUBJECTS = (Subject("ResNet-50", _resnet50, "layer4", (224, 224)),)
SPEEDS: tuple[dict[str, Any], ...] = (
    {"fold": True, "channels_last": True},
    {"compile": True},
    {"fold": True, "channels_last": True, "amp": "bf16"},
    {"fold": True, "channels_last": True, "compile": True, "amp": "bf16"},
)


@dataclass(frozen=True)
class Row:
    """A network with one setting of `speed`."""

    name: str
    batch: int
    speed: dict[str, Any] = field(default_factory=dict)
    own: float = 0.0
    """The network's own forward pass with it, in plain forward passes; the median over rounds."""
    maps: float = 0.0
    """Gradcam with it, likewise."""
    ratio: float = 0.0
    """Gradcam in own forward passes, likewise."""


def measured_rows(subject: Subject, rounds: int = 9, speeds: Sequence[dict[str, Any]] = SPEEDS) -> list[Row]:
    """Return the costs of gradcam by setting of `speed`; the network has random weights."""
    torch.manual_seed(0)
    model = subject.build().eval()
    inputs = torch.randn(subject.batch, 3, *subject.size)

    def plain() -> None:
        with torch.inference_mode():
            model(inputs)

    contestants: dict[int, tuple[Callable[[], Any], Callable[[], Any]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, speed in enumerate(speeds):
            cam = CAM(model, subject.layer, "gradcam", speed=speed)
            contestants[number] = (own_forward(model, inputs, speed), lambda cam=cam: cam(inputs, 0))  # type: ignore[misc]
        for pair in contestants.values():  # compiles
            for run in pair:
                run()
        taken: dict[int, list[tuple[float, float, float]]] = {number: [] for number in contestants}
        for _ in range(rounds):
            for number, (own, maps) in contestants.items():
                taken[number].append((seconds(plain), seconds(own), seconds(maps)))
    return [
        Row(
            subject.name,
            subject.batch,
            speeds[number],
            statistics.median(own / whole for whole, own, _ in times),
            statistics.median(maps / whole for whole, _, maps in times),
            statistics.median(maps / own for _, own, maps in times),
        )
        for number, times in taken.items()
    ]


def own_forward(model: nn.Module, inputs: Tensor, settings: dict[str, Any]) -> Callable[[], Any]:
    """Return a forward pass of a copy that torch alone makes as fast: by its own fusing, compiler and autocast."""
    speed = build_speed(settings)
    own = fuse(copy.deepcopy(model)) if speed.fold else copy.deepcopy(model)
    dtype = torch.bfloat16 if speed.amp else None
    if dtype is not None:  # what autocast would cast in each call
        for module in own.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.to(dtype)
    if speed.channels_last:
        own, inputs = own.to(memory_format=torch.channels_last), inputs.contiguous(memory_format=torch.channels_last)
    run: Any = torch.compile(own, dynamic=False, options={"freezing": True}) if speed.compile else own

    def forward() -> Any:
        halved = torch.autocast(inputs.device.type, dtype=dtype) if dtype is not None else nullcontext()
        with torch.no_grad() if speed.compile else torch.inference_mode(), halved:
            return run(inputs)

    return forward


def markdown(rows: Sequence[Row], where: str) -> str:
    """Return the table in markdown; `where` names the machine."""
    table = [
        f"Measured on {where}. In plain `torch.inference_mode()` forward passes of the same batch, medians of the rounds' ratios.",
        "",
        f"| network, batch | speed | its own forward pass | gradcam | gradcam / own, asked <= {LATEST} |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        speed = ", ".join(f"{name}={value!r}" for name, value in row.speed.items())
        table.append(f"| {row.name}, {row.batch} | `dict({speed})` | {row.own:.2f} | {row.maps:.2f} | {row.ratio:.2f} |")
    return "\n".join(table)
