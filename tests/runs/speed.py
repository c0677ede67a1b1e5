"""Speed of a run beside plain inference and other packages over the same loader: `python -m tests.runs.speed [CONFIG] [SAMPLES] [ROUNDS]`.

Side by side in one process, in turns; ratios of a round, and their medians.
"""

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camtool.apis import Explainer
from camtool.runs import run
from camtool.runs.data import as_run_data
from camtool.runs.labels import Labels
from camtool.runs.loader import Batches, loaded_batches

BATCH = 8


def pictures(folder: Path, count: int) -> Path:
    """Write pictures of the demo's cat, each cropped elsewhere, as JPEG files of 400x300, and return the folder."""
    cat = Image.open(Path(__file__).resolve().parents[2] / "demo/cat.jpg").convert("RGB").resize((480, 360))
    folder.mkdir()
    for number, (left, top) in enumerate(np.random.default_rng(0).integers(0, 60, (count, 2)).tolist()):
        cat.crop((left, top, left + 400, top + 300)).save(folder / f"{number:05d}.jpg", quality=90)
    return folder


def batches_of(explainer: Explainer, data: Path, workers: int) -> Iterator[Tensor]:
    """Yield the preprocessed batches as a run reads them."""
    samples = as_run_data(data, explainer)
    plan = [range(start, min(start + BATCH, len(samples))) for start in range(0, len(samples), BATCH)]
    for loaded in loaded_batches(Batches(samples, explainer, Labels({}), plan, 0), workers):
        yield torch.cat([sample.prepared.inputs for sample in loaded if sample.prepared is not None])


def contestants(explainer: Explainer, data: Path, workers: int) -> dict[str, Callable[[], None]]:
    """Return what is measured, by name."""
    model, (layer,) = explainer.network.model, explainer.cam.target_layers
    module = model.get_submodule(layer.replace("[", ".").replace("]", ""))

    def plain() -> None:
        with torch.inference_mode():
            for inputs in batches_of(explainer, data, workers):
                model(inputs)

    def maps() -> None:
        with tempfile.TemporaryDirectory() as out:
            run(explainer, data, Path(out) / "maps", batch_size=BATCH, workers=workers)

    def grad_cam() -> None:
        from pytorch_grad_cam import GradCAM

        with GradCAM(model, [module]) as method:
            for inputs in batches_of(explainer, data, workers):
                method(inputs, None)

    def torch_cam() -> None:
        from torchcam.methods import GradCAM

        with GradCAM(model, target_layer=module) as method:
            for inputs in batches_of(explainer, data, workers):
                scores = model(inputs)
                method(scores.argmax(dim=1).tolist(), scores)

    return {"plain": plain, "camtool": maps, "pytorch-grad-cam": grad_cam, "torchcam": torch_cam}


def main() -> None:
    """Measure what the command line says."""
    name, count, rounds = [*sys.argv[1:], *["efficientnet-lite0_in1k", "64", "3"][len(sys.argv) - 1 :]]
    warnings.simplefilter("ignore")
    explainer = Explainer(name, method="gradcam", random_weights=name != "efficientnet-lite0_in1k")
    explainer(np.zeros((64, 64, 3), np.uint8) + 99)  # derives the layer
    with tempfile.TemporaryDirectory() as folder:
        data = pictures(Path(folder) / "pictures", int(count))
        for workers in (0, 1):
            measured: dict[str, list[float]] = {}
            for _ in range(int(rounds)):
                seconds = {}
                for what, measure in contestants(explainer, data, workers).items():
                    # As users of the others have it: weights that can be trained.
                    explainer.network.model.requires_grad_(what not in ("plain", "camtool"))
                    started = time.perf_counter()
                    measure()
                    seconds[what] = time.perf_counter() - started
                for what, value in seconds.items():
                    measured.setdefault(what, []).append(seconds["plain"] / value)
            shares = ", ".join(f"{what} {statistics.median(ratios):.3f}" for what, ratios in measured.items())
            print(f"{name}, {count} pictures, {workers} workers, {torch.get_num_threads()} threads: of plain inference's speed: {shares}")


if __name__ == "__main__":
    main()
