"""What metrics cost beside the forward passes that they count, and beside the same metrics of other packages."""

import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from camtool import metrics
from camtool.attribution.cam import CAM
from camtool.benchmark import networks, peers
from camtool.errors import times
from camtool.functional import resize
from camtool.metrics.altered_inputs import removal_ranks
from camtool.metrics.imputation import imputed

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
STEPS = 28
METHODS = ("gradcam", "gradcam++", "layercam", "hirescam")
DRAWS = 5
BATCH = 16
ROUNDS = 2

Contestants = Mapping[str, Callable[[], object]]
FORWARDS, CAMTOOL = "forwards", "camtool"


@dataclass(frozen=True)
class Material:
    """A network, and what is scored."""

    model: nn.Module
    layer: str
    inputs: Tensor
    """(n, 3, h, w)"""
    maps: Tensor
    """(n, h, w), smooth."""
    classes: list[int]

    def forwards(self, count: int) -> None:
        """Run so many rows of the inputs through the network, in batches as metrics do."""
        with torch.no_grad():
            for start in range(0, count, BATCH):
                rows = torch.arange(start, min(start + BATCH, count)) % len(self.inputs)
                self.model(self.inputs[rows])


@dataclass(frozen=True)
class Measure:
    """What is measured of a metric."""

    counted: int
    """Forward passes of one sample that the metric needs."""
    contestants: Contestants
    """By name, in the order of the table; all but the forward passes themselves."""
    counted_by: Mapping[str, int]
    """Of those contestants that need another number of forward passes."""
    asked: str
    reached: Callable[[Mapping[str, float]], float]
    """Of the contestants' seconds, `FORWARDS` included."""
    holds: Callable[[float], bool]


@dataclass(frozen=True)
class Subject:
    """A metric, and a network of `camtool.benchmark.networks`."""

    name: str
    network: str
    measure: Callable[[Material], Measure]
    samples: int = 1


@dataclass(frozen=True)
class Row:
    """Costs of a metric, in processor time."""

    name: str
    size: tuple[int, ...]
    counted: int
    seconds: float
    """Of the forward passes that the metric counts, alone."""
    ratios: dict[str, float]
    """By contestant, over the forward passes that it counts; the median over rounds."""
    asked: str
    reached: float
    holds: bool


def measured_row(subject: Subject, rounds: int = ROUNDS) -> Row:
    """Return the costs of a metric, all contestants in turns."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        material = _material(subject)
        found = subject.measure(material)
        material.forwards(BATCH)
        runs: dict[str, Callable[[], object]] = {FORWARDS: partial(material.forwards, found.counted), **found.contestants}
        taken = [{name: _seconds(run) for name, run in runs.items()} for _ in range(rounds)]
    ratios = {
        name: statistics.median(of[name] / (of[FORWARDS] * found.counted_by.get(name, found.counted) / found.counted) for of in taken)
        for name in found.contestants
    }
    reached = statistics.median(found.reached(of) for of in taken)
    seconds = statistics.median(of[FORWARDS] for of in taken)
    size = tuple(material.inputs.shape[2:])
    return Row(subject.name, size, found.counted, seconds, ratios, found.asked, reached, found.holds(reached))


def _material(subject: Subject) -> Material:
    model = networks.build(subject.network, "cpu")
    of = networks.subject(subject.network, model, subject.samples, 1, "cpu")
    cells = torch.rand(subject.samples, 7, 7, generator=torch.Generator().manual_seed(0))
    maps = resize(cells, tuple(of.inputs.shape[2:]))
    return Material(model, of.layer, of.inputs, maps, [classes[0] for classes in of.classes])


def _road(given: Material) -> Measure:
    orders = [removal_ranks(sign * given.maps, 0) for sign in (1, -1)]
    positions = given.maps[0].numel()
    removed = torch.cat([ranks < int(share * positions) for share in FRACTIONS for ranks in orders]).unflatten(1, given.maps.shape[1:])
    repeated = given.inputs.repeat(2 * len(FRACTIONS), 1, 1, 1)
    return Measure(
        counted=len(removed),
        contestants={
            "solver": partial(imputed, repeated, removed),
            CAMTOOL: partial(metrics.road, given.model, given.inputs, given.maps, given.classes, fractions=FRACTIONS, batch_size=BATCH),
            peers.GRAD_CAM: partial(peers.grad_cam_road, given.model, given.inputs, given.maps, given.classes, FRACTIONS),
        },
        counted_by={},
        asked="solver <= 1.00 forwards",
        reached=lambda seconds: seconds["solver"] / seconds[FORWARDS],
        holds=lambda reached: reached <= 1,
    )


def _areas(given: Material) -> Measure:
    step = -(-given.maps[0].numel() // STEPS)
    rows = len(given.inputs) * (STEPS + 1)
    flipped = given.maps[0].numel() // 16

    def both() -> None:
        for area in (metrics.deletion, metrics.insertion):
            area(given.model, given.inputs, given.maps, given.classes, step=step, batch_size=BATCH)

    return Measure(
        counted=2 * rows,
        contestants={
            CAMTOOL: both,
            peers.TORCHCAM: partial(peers.torchcam_areas, given.model, given.layer, given.inputs, given.classes, STEPS, BATCH),
            peers.QUANTUS: partial(peers.quantus_pixel_flipping, given.model, given.inputs, given.maps, given.classes, flipped),
        },
        counted_by={
            peers.TORCHCAM: 2 * (rows - len(given.inputs)),  # both curves share their ends
            peers.QUANTUS: given.inputs.numel() // flipped,  # deletion alone, value by value, without the unaltered input
        },
        asked="forwards >= 0.90 of the time",
        reached=lambda seconds: seconds[FORWARDS] / seconds[CAMTOOL],
        holds=lambda reached: reached >= 0.9,
    )


def _sensitivity(given: Material) -> Measure:
    def maps_of(methods: Sequence[str], inputs: Tensor, classes: list[int]) -> dict[str, Tensor]:
        found = CAM(given.model, method=list(methods), target_layers=given.layer)(inputs, classes)
        return {name: one.maps for name, one in found.items()}

    def maps_by(method: str, inputs: Tensor, classes: list[int]) -> Tensor:
        return maps_of([method], inputs, classes)[method]

    def ours(*methods: str) -> None:
        metrics.max_sensitivity(given.model, given.inputs, partial(maps_of, methods), given.classes, samples=DRAWS, batch_size=BATCH)

    def one_by_one() -> None:
        for method in METHODS:
            ours(method)

    def theirs() -> None:
        for method in METHODS:
            peers.quantus_max_sensitivity(given.model, given.inputs, given.classes, partial(maps_by, method), DRAWS)

    together = f"camtool, {len(METHODS)} methods together"
    return Measure(
        counted=len(given.inputs) * (DRAWS + 1),
        contestants={together: partial(ours, *METHODS), "one by one": one_by_one, peers.QUANTUS: theirs},
        counted_by={},
        asked="together < 1.00 of one by one",
        reached=lambda seconds: seconds[together] / seconds["one by one"],
        holds=lambda reached: reached < 1,
    )


SUBJECTS = (
    Subject("road, ResNet-50", "resnet50", _road),
    Subject("deletion and insertion, ResNet-50", "resnet50", _areas),
    Subject("max-sensitivity, ResNet-18", "resnet18", _sensitivity, samples=4),
)


def _seconds(run: Callable[[], object]) -> float:
    """Return the processor time, which other programs of the machine do not add to."""
    started = time.process_time()
    run()
    return time.process_time() - started


def markdown(rows: Sequence[Row], where: str) -> str:
    """Return the table in markdown; `where` names the machine."""
    table = [
        f"Measured on {where}. Processor time over that of the forward passes that each needs, medians of the rounds' ratios.",
        "",
        "| metric | input | forwards, alone | in these forwards | asked | reached | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = "; ".join(f"{name} {ratio:.2f}" for name, ratio in row.ratios.items())
        cells = [row.name, times(row.size), f"{row.counted} in {row.seconds:.2f} s", ratios, row.asked, f"{row.reached:.2f}"]
        table.append(f"| {' | '.join([*cells, 'yes' if row.holds else 'no'])} |")
    return "\n".join(table)
