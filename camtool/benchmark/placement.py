"""Where maps lie beside the truth, by placement of the cells: even, by arithmetic of strides and padding, measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camtool.attribution.cam import CAM
from camtool.config.loading import load_config
from camtool.datasets.synthetic.scenes import ShapeScenes
from camtool.errors import recorded_warnings
from camtool.functional import min_max
from camtool.io.images import read_picture
from camtool.models import Network, load_network
from camtool.placement import EVEN, MEASURED, Placement, placed
from camtool.train.config import training_config
from camtool.train.runner import train

ARITHMETIC = "arithmetic"
KINDS = (EVEN, ARITHMETIC, MEASURED)
SCENES, BATCH = 250, 8
PHOTOGRAPHS = ("cat", "espresso", "rocket")
PATCH, STEP = 48, 24
"""Side and distance of the grey patches of an occlusion map, in pixels."""
COVERED = 0.2
"""Share of a picture that counts as its object where only an occlusion map is known: where hiding it costs the most."""


@dataclass(frozen=True)
class Subject:
    """A network of the table."""

    name: str
    """Name in the table, and of its folder of weights."""
    method: str
    first: float
    """Centre of the first cell in pixels, by arithmetic of strides and padding."""
    size: int
    """Side of the input in pixels."""
    scenes: bool = True
    """Whether the truth is the object of synthetic scenes, or the occlusion map of photographs."""
    config: str = ""
    """Config, if it has another name."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Overrides in the config."""

    @property
    def source(self) -> str:
        """Name of the config."""
        return self.config or self.name


_STEPS = [{"type": "camtool.LoadImageFromFile"}, {"type": "Resize", "scale": (96, 96)}, {"type": "PackInputs"}]
STRIDE_32: Mapping[str, Any] = {
    "model.stem": "imagenet",
    "model.strides": (1, 2, 2, 2),
    "model.base_channels": 16,
    **{f"{split}_dataloader.dataset.size": 96 for split in ("train", "val", "test")},
    **{f"{split}_dataloader.dataset.pipeline": _STEPS for split in ("val", "test")},
    "test_pipeline": _STEPS,
    "train_cfg.max_epochs": 8,
    "optim_wrapper.optimizer.lr": 3e-3,
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 0.1, "end": 100, "by_epoch": False},
        {"type": "CosineAnnealingLR", "T_max": 8, "end": 8, "by_epoch": True, "convert_to_iter_based": True},
    ],
}
"""ResNet-18 as on ImageNet, of stride 32 but narrow, on scenes of 96 pixels: a map of 3x3, where a cell's place matters."""


SUBJECTS = (
    Subject("cnn_tiny_shapes", "gradcam", 0.0, 64),
    Subject("resnet18_cam_shapes", "gradcam", 0.0, 64),
    Subject("vit_tiny_shapes", "layercam", 3.5, 64),  # Grad-CAM's mean gradient of its tokens tells nothing
    Subject("resnet18_stride32_shapes", "gradcam", 0.0, 96, config="resnet18_cam_shapes", options=STRIDE_32),
    Subject("efficientnet-lite0_in1k", "gradcam", 31.0, 224, scenes=False),
)


@dataclass(frozen=True)
class Measures:
    """How well maps lie on the truth, over all pictures."""

    aside: tuple[float, ...]
    """Median distance of the map's centroid from the object's by axis, in pixels; positive: below, or to the right."""
    energy: float
    """Share of the map inside the object, over the object's share of the picture."""
    pointing: float
    """Share of pictures whose highest value lies on the object."""


@dataclass(frozen=True)
class Row:
    """The results of one network."""

    name: str
    method: str
    measures: dict[str, Measures]
    """By kind of placement."""
    places: dict[str, str]
    """By kind where the cells lie, in words."""


def measured_row(subject: Subject, checkpoints: Path, report: Callable[[str, int, int], None] | None = None) -> Row:
    """Return the row of a network, trained into `checkpoints` unless its weights are there.

    Args:
        report: progress, `report(description, done, total)`.
    """
    report = report or _silent
    network = load_network(load_config(subject.source, subject.options), _weights(subject, checkpoints))
    inputs, classes, objects = _scenes(subject, network) if subject.scenes else _photographs(network, report)
    cam = CAM(network.model, method=subject.method, placement=MEASURED)
    raws, place = [], None
    with recorded_warnings():  # of pictures without evidence for their class
        for start in range(0, len(inputs), BATCH):
            result = cam(inputs[start : start + BATCH], classes[start : start + BATCH])
            ((path, raw),) = result.raw.items()
            raws.append(raw.clamp(min=0))
            place = place or result.placement[path]  # of the first call; the others know it
            report(subject.name, min(start + BATCH, len(inputs)), len(inputs))
    raw, size = torch.cat(raws), inputs.shape[2:]
    assert place is not None
    even = Placement.even(raw.shape[1:], size)
    places = {EVEN: even, ARITHMETIC: Placement(even.scale, (subject.first,) * len(size), ARITHMETIC), MEASURED: place}
    measures = {kind: measure(min_max(placed(raw, size, place)), objects) for kind, place in places.items()}
    return Row(subject.name, subject.method, measures, {kind: str(place) for kind, place in places.items()})


def measure(maps: Float[Tensor, "n *size"], objects: Bool[Tensor, "n *size"]) -> Measures:
    """Return how well maps lie on objects. Maps without any evidence have no centroid, and the least of the other two measures.

    Example:
        >>> import torch
        >>> from camtool.benchmark.placement import measure
        >>> measure(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[False, True, True, False]]))
        Measures(aside=(1.0,), energy=1.0, pointing=1.0)
    """
    maps, inside, axes = maps.double(), objects.double(), tuple(range(1, maps.ndim))
    total = maps.sum(dim=axes)
    energy = (maps * inside).sum(dim=axes) / total.clamp(min=1e-12) / inside.mean(dim=axes)
    highest = maps.flatten(1).argmax(dim=1, keepdim=True)
    pointing = inside.flatten(1).gather(1, highest).squeeze(1).bool() & (total > 0)
    aside = (_centroids(maps) - _centroids(inside))[total > 0].median(dim=0).values
    return Measures(tuple(aside.tolist()), energy.mean().item(), pointing.double().mean().item())


def _silent(description: str, done: int, total: int) -> None:
    pass


def _centroids(maps: Float[Tensor, "n *size"]) -> Float[Tensor, "n axes"]:
    total = maps.flatten(1).sum(dim=1).clamp(min=1e-12)
    centroids = []
    for axis in range(1, maps.ndim):
        line = maps.movedim(axis, -1).flatten(1, -2).sum(dim=1) if maps.ndim > 2 else maps
        centroids.append((line * torch.arange(line.shape[1])).sum(dim=1) / total)
    return torch.stack(centroids, dim=1)


def _weights(subject: Subject, checkpoints: Path) -> str | None:
    """Return the path of a network's weights, which are trained first if they are not there; None: the published ones."""
    if not subject.scenes:
        return None
    folder = checkpoints / subject.name
    if not (folder / "final.pth").exists():
        config = training_config(subject.source, subject.options, work_dir=str(folder), amp=False, strict=False, launcher="none")
        train(config, subject.source, resume=True, launcher="none")
    return str(folder / "final.pth")


Pictures = tuple[Float[Tensor, "n c *size"], list[int], Bool[Tensor, "n *size"]]
"""Inputs, classes and objects."""


def _scenes(subject: Subject, network: Network) -> Pictures:
    """Return scenes of a split that nothing was trained or chosen on."""
    scenes = ShapeScenes(split="test", seed=1, size=subject.size)
    numbers = (number for number in range(2 * SCENES) if scenes.scene(number).object is not None)
    samples = [scenes.scene(number).sample() for number, _ in zip(numbers, range(SCENES), strict=False)]
    inputs = torch.cat([network.preprocess(sample.picture) for sample in samples])
    return inputs, [sample.label for sample in samples], torch.stack([torch.from_numpy(sample.mask) for sample in samples])


def _photographs(network: Network, report: Callable[[str, int, int], None]) -> Pictures:
    """Return crops of photographs, four of each, and where hiding a part costs the most."""
    inputs = torch.cat([network.preprocess(crop) for name in PHOTOGRAPHS for crop in _crops(read_picture(Path("demo") / f"{name}.jpg"))])
    with torch.no_grad():
        classes = network.model(inputs).argmax(dim=1).tolist()
    maps = []
    for number, (picture, index) in enumerate(zip(inputs, classes, strict=True)):
        maps.append(occlusion_map(network.model, picture, index))
        report("occlusion maps", number + 1, len(inputs))
    drops = torch.stack(maps)
    return inputs, classes, drops >= drops.flatten(1).quantile(1 - COVERED, dim=1).view(-1, 1, 1)


def _crops(picture: Any) -> Iterator[Any]:
    """Yield the four corners of a photograph, 85 % of it along each axis: the object is at another place in each."""
    height, width = (round(0.85 * length) for length in picture.shape[:2])
    for top in (0, picture.shape[0] - height):
        for left in (0, picture.shape[1] - width):
            yield picture[top : top + height, left : left + width].copy()


def occlusion_map(model: Any, picture: Float[Tensor, "c h w"], index: int) -> Float[Tensor, "h w"]:
    """Return at each pixel the mean drop of a class's score over the grey patches that hide it."""
    height, width = picture.shape[1:]
    corners = [(top, left) for top in _starts(height) for left in _starts(width)]
    drops, counts = torch.zeros(height, width), torch.zeros(height, width)
    with torch.no_grad():
        before = model(picture[None])[0, index]
        for start in range(0, len(corners), 9):
            hidden = picture.repeat(len(corners[start : start + 9]), 1, 1, 1)
            for copy, (top, left) in zip(hidden, corners[start : start + 9], strict=True):
                copy[:, max(top, 0) : top + PATCH, max(left, 0) : left + PATCH] = 0  # grey, after preprocessing
            for score, (top, left) in zip(model(hidden)[:, index], corners[start : start + 9], strict=True):
                drops[max(top, 0) : top + PATCH, max(left, 0) : left + PATCH] += before - score
                counts[max(top, 0) : top + PATCH, max(left, 0) : left + PATCH] += 1
    return drops / counts


def _starts(length: int) -> range:
    """Return where patches begin, the first and last half outside: every pixel is hidden as often as the others."""
    return range(STEP - PATCH, length, STEP)


def markdown(rows: Sequence[Row], where: str) -> str:
    """Return the table in markdown; `where` names the machine."""
    table = [
        f"Measured on {where}. {SCENES} scenes with an object; of EfficientNet-Lite0, 12 crops of photographs, whose object is the fifth "
        "of the picture that costs the most where an occlusion map hides it. Each cell: distance of the map's centroid from the object's, "
        "down and right, in pixels; share of the map inside the object over the object's share of the picture; pointing game.",
        "",
        f"| | method | {' | '.join(KINDS)} | where the cells look |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [_cell(row.measures[kind]) for kind in KINDS]
        table.append(f"| `{row.name}` | {row.method} | {' | '.join(cells)} | {row.places[MEASURED]} |")
    return "\n".join(table)


def _cell(measures: Measures) -> str:
    return f"{', '.join(f'{value:+.1f}' for value in measures.aside)}; {measures.energy:.2f}; {measures.pointing:.2f}"
