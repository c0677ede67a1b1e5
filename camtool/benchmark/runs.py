"""The speed of a run beside plain inference, and beside the obvious loops with other packages, over the same loader."""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camtool.apis import Explainer
from camtool.benchmark.peers import GRAD_CAM, TORCHCAM, grad_cam_of_batches, torchcam_of_batches
from camtool.functional import resize
from camtool.io.atomic import write_atomically
from camtool.io.images import encode
from camtool.runs import run
from camtool.runs.data import as_run_data
from camtool.runs.labels import Labels
from camtool.runs.loader import Batches, loaded_batches

BATCH = 8
SPEED = {"fold": True, "channels_last": True}
PLAIN, CAMTOOL, FASTER, LOADER = "plain", "camtool", "camtool, folded", "loader"
"""Names of what is measured, with those of the peers: inference alone, a run, a run with `SPEED`, and reading and preprocessing alone."""


@dataclass(frozen=True)
class Subject:
    """A network, by the name of its config."""

    name: str
    config: str
    random_weights: bool = False
    samples: int = 512
    """A run's start, which reads the weights and a first sample, is part of its time."""
    samples_of_peers: int = 64
    """The obvious loops have no start, and go over so many."""
    size: tuple[int, int] = (300, 400)
    """Of the pictures."""


SUBJECTS = (
    Subject("EfficientNet-Lite0", "efficientnet-lite0_in1k"),
    Subject("ResNet-50", "torchvision/resnet50", random_weights=True, samples=128, samples_of_peers=32),
)


@dataclass(frozen=True)
class Row:
    """Speeds over one loader."""

    name: str
    samples: int
    workers: int
    decoding: bool
    """Whether pictures are decoded and preprocessed in the time; else that was done before."""
    plain: float
    """Pictures a second of plain inference, the median over rounds."""
    ratios: dict[str, float]
    """By contestant the median of its speed over that of plain inference in the same round."""


def measured_rows(subject: Subject, rounds: int = 3, workers: Sequence[int] = (0, 1)) -> list[Row]:
    """Return the speeds of a network: with decoding, by number of workers, and without."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        explainers = {
            name: Explainer(subject.config, method="gradcam", random_weights=subject.random_weights, speed=speed)
            for name, speed in ((CAMTOOL, None), (FASTER, SPEED))
        }
        files = _pictures(Path(folder) / "pictures", subject)
        first = explainers[CAMTOOL]
        decoded = [inputs[0] for batch in _batches(first, files, 0) for inputs in batch.split(1)]
        for explainer in explainers.values():  # derives the layer, makes the copy
            run(explainer, decoded[:BATCH], Path(folder) / f"first {id(explainer)}", batch_size=BATCH)
        rows = [_row(subject, explainers, files, count, rounds, decoding=True) for count in workers]
        return [*rows, _row(subject, explainers, decoded, 0, rounds, decoding=False)]


def _row(subject: Subject, explainers: dict[str, Explainer], data: Any, workers: int, rounds: int, *, decoding: bool) -> Row:
    measured: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, contestant in _contestants(subject, explainers, data, workers).items():
            with contestant() as loop:
                started = time.perf_counter()
                loop()
                count = subject.samples_of_peers if name in (GRAD_CAM, TORCHCAM) else subject.samples
                measured.setdefault(name, []).append(min(count, subject.samples) / (time.perf_counter() - started))
    plain = measured[PLAIN]
    ratios = {name: statistics.median(map(float.__truediv__, speeds, plain)) for name, speeds in measured.items() if name != PLAIN}
    return Row(subject.name, subject.samples, workers, decoding, statistics.median(plain), ratios)


Contestant = Callable[[], AbstractContextManager[Callable[[], None]]]
"""Sets up, untimed, and yields what goes over the data set."""


def _contestants(subject: Subject, explainers: dict[str, Explainer], data: Any, workers: int) -> dict[str, Contestant]:
    first = explainers[CAMTOOL]
    model, (layer,) = first.network.model, first.cam.target_layers
    module = model.get_submodule(layer.replace("[", ".").replace("]", "").lstrip("."))
    batches = partial(_batches, first, data, workers)
    few = partial(_batches, first, data, workers, subject.samples_of_peers)
    return {
        LOADER: partial(_over, batches, _discard),
        PLAIN: partial(_over, batches, torch.inference_mode()(model.__call__)),
        CAMTOOL: partial(_stored, explainers[CAMTOOL], data, workers),
        GRAD_CAM: partial(_peer, few, model, partial(grad_cam_of_batches, model, module)),
        TORCHCAM: partial(_peer, few, model, partial(torchcam_of_batches, model, module)),
        FASTER: partial(_stored, explainers[FASTER], data, workers),
    }


@contextmanager
def _over(batches: Callable[[], Iterator[Tensor]], compute: Callable[[Tensor], Any]) -> Iterator[Callable[[], None]]:
    def loop() -> None:
        for inputs in batches():
            compute(inputs)

    yield loop


@contextmanager
def _stored(explainer: Explainer, data: Any, workers: int) -> Iterator[Callable[[], None]]:
    with tempfile.TemporaryDirectory() as folder:
        yield lambda: _discard(run(explainer, data, Path(folder) / "maps", batch_size=BATCH, workers=workers))


@contextmanager
def _peer(
    batches: Callable[[], Iterator[Tensor]], model: nn.Module, peer: Callable[[], AbstractContextManager[Callable[[Tensor], Any]]]
) -> Iterator[Callable[[], None]]:
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(True)  # as users of the others have it
    try:
        with peer() as maps_of, _over(batches, maps_of) as loop:
            yield loop
    finally:
        model.zero_grad(set_to_none=True)
        for parameter, trains in trained:
            parameter.requires_grad_(trains)


def _batches(explainer: Explainer, data: Any, workers: int, most: int | None = None) -> Iterator[Tensor]:
    """Yield the preprocessed batches as a run reads them, of the first samples if `most` says how many."""
    samples = as_run_data(data, explainer)
    numbers = range(len(samples))[:most]
    plan = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
    for loaded in loaded_batches(Batches(samples, explainer, Labels({}), plan, 0), workers):
        yield torch.cat([sample.prepared.inputs for sample in loaded if sample.prepared is not None])


def _pictures(folder: Path, subject: Subject) -> Path:
    """Write smooth noise as JPEG files and return the folder."""
    generator = torch.Generator().manual_seed(0)
    for number in range(subject.samples):
        coarse = torch.rand(3, 12, 16, generator=generator) * 255
        picture = resize(coarse, subject.size).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        write_atomically(folder / f"{number:05d}.jpg", encode(picture.numpy(), ".jpg"))
    return folder


def _discard(_: object) -> None: ...


def markdown(rows: Sequence[Row], where: str) -> str:
    """Return the table in markdown; `where` names the machine."""
    names = [CAMTOOL, GRAD_CAM, TORCHCAM, FASTER, LOADER]
    table = [
        f"Measured on {where}. Plain inference in pictures a second; the others as shares of its speed, medians of the rounds' ratios.",
        "",
        f"| network | pictures | decoding | workers | plain | {' | '.join(names)} |",
        f"|---|---|---|---|---|{'---|' * len(names)}",
    ]
    for row in rows:
        cells = [row.name, str(row.samples), "yes" if row.decoding else "no", str(row.workers), f"{row.plain:.1f}"]
        table.append(f"| {' | '.join([*cells, *(f'{row.ratios[name]:.2f}' for name in names)])} |")
    return "\n".join(table)
