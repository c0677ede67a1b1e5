"""Explained samples of a data set, or files: figures with the true, predicted and explained class."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from camtool.apis.canvas import caption
from camtool.apis.explanation import Explanation
from camtool.apis.figures import RANDOM_WEIGHTS
from camtool.apis.images import NamedPicture
from camtool.apis.subjects import Subject, load_subject
from camtool.datasets.splits import Samples
from camtool.errors import DataError
from camtool.io.images import FORMATS, encode
from camtool.models import Network
from camtool.models.class_labels import label
from camtool.visualization.figures import Style

OPACITY = 0.4  # of the map; the image has 0.6


@dataclass(frozen=True)
class SampleRequest:
    """An image to be read and explained, and the path of its figure."""

    origin: Path | int
    """An image file, or an index of the data set."""
    file: Path

    @property
    def index(self) -> int | None:
        """Index in the data set; None for an image file."""
        return self.origin if isinstance(self.origin, int) else None


@dataclass(frozen=True)
class LabelledSample:
    """A picture, a volume or a signal, and its true classes, if they are known."""

    image: Subject
    labels: Sequence[int] = ()


def requested_samples(
    out_dir: Path,
    samples: Samples | None,
    *,
    images: Sequence[Path] = (),
    index: int | None = None,
    random: int | None = None,
    seed: int = 0,
) -> list[SampleRequest]:
    """Return the requests for image files, for one sample by index, or for random samples.

    Raises:
        DataError: if the index is out of range, or the data set has fewer samples than `random`.
    """
    if samples is None:
        return [SampleRequest(path, out_dir / name) for path, name in zip(images, _names_after(images), strict=True)]
    if index is not None:
        samples.check_index(index)
        return [SampleRequest(index, out_dir / f"index_{index}_cam.png")]
    if random is None:
        raise DataError("Expected image files, an index, or a number of random samples.")
    drawn = samples.drawn(random, seed)
    return [SampleRequest(number, out_dir / f"random_cam_{count}.png") for count, number in enumerate(drawn)]


def read_sample(request: SampleRequest, samples: Samples | None, network: Network) -> LabelledSample:
    """Return the sample of a request, with its labels; ImageError or DataError if it cannot be read.

    Args:
        network: whose kind of input files have.
    """
    if isinstance(request.origin, Path):
        return LabelledSample(load_subject(request.origin, 0, network.reading, network.shown))
    assert samples is not None
    sample = samples.read(request.origin, network.picture_reading)
    return LabelledSample(NamedPicture(sample.picture, sample.name), sample.labels)


@dataclass(frozen=True)
class SamplePanel:
    """A sample that was explained: its figure, and what reports say of it. The maps are not kept."""

    file: Path
    content: bytes = field(repr=False)
    """Of the figure's file."""
    report: dict[str, Any]
    """As JSON values."""
    row: Sequence[str]
    """Figure, sample, true, predicted and explained class as text."""


def sample_panel(request: SampleRequest, explanation: Explanation, labels: Sequence[int], names: Sequence[str] | None) -> SamplePanel:
    """Return the figure and the report of a sample.

    Args:
        labels: the true classes.
        names: class names of the data set; None: those of the network.
    """
    names = names or explanation.answer.names
    (target,) = explanation.answer.targets
    sample = explanation.image.name if request.index is None else str(request.index)
    classes = (true_classes(labels, names) or "-", predicted_class(explanation), caption(explanation.answer, target))
    return SamplePanel(
        request.file,
        encode(sample_figure(explanation, labels, names), request.file.suffix),
        sample_report(request, explanation, labels, names),
        (str(request.file), sample, *classes),
    )


def sample_figure(explanation: Explanation, labels: Sequence[int], names: Sequence[str] | None) -> UInt8[ndarray, "H W 3"]:
    """Return a figure with sample, map and map over the sample for each method, with true, predicted and explained class.

    Args:
        labels: the true classes.
        names: class names of the data set.
    """
    (target,) = explanation.answer.targets
    canvas = explanation.canvas()
    cells = []
    for method, result in explanation.results.items():
        title = f"CAM for {target.words}" if result.class_discriminative else "CAM for any class"
        cells.append(replace(canvas.cell(explanation.answer, method, 0), title=title))
    true = true_classes(labels, names)
    return canvas.panels(
        cells,
        Style(opacity=OPACITY),
        before=[f"true: {true}"] if true else [],
        after=[f"predicted: {predicted_class(explanation)}", f"target: {caption(explanation.answer, target)}"],
        alarm=RANDOM_WEIGHTS if explanation.network.checkpoint is None else "",
    )


def sample_report(request: SampleRequest, explanation: Explanation, labels: Sequence[int], names: Sequence[str] | None) -> dict[str, Any]:
    """Return the report of one sample as a dict of JSON values."""
    predicted = explanation.predicted
    return {
        "output": str(request.file),
        "image": explanation.image.name,
        "index": request.index,
        "true": [{"index": index, "name": names[index] if names and index < len(names) else None} for index in labels],
        "predicted": None if predicted is None else explanation.class_facts(predicted),
        "target": explanation.targets[0],
        "status": {method: status[0] for method, status in explanation.status.items()},
    }


def true_classes(labels: Sequence[int], names: Sequence[str] | None) -> str:
    """Return the true classes as text; "" if none are known."""
    return ", ".join(label(index, names) for index in labels)


def predicted_class(explanation: Explanation) -> str:
    """Return the predicted class and its probability as text; "" if the network does not give one score per class."""
    index = explanation.predicted
    return "" if index is None else f"{label(index, explanation.answer.names)}, {explanation.shown(index)}"


def _names_after(images: Sequence[Path]) -> list[str]:
    """Return `cam_NAME` for each image, equal names with a number."""
    names: list[str] = []
    for path in images:
        stem, suffix = path.stem, path.suffix if path.suffix.lower() in FORMATS else f"{path.suffix}.png"
        name, count = f"cam_{stem}{suffix}", 1
        while name in names:  # files of one name in two folders
            count += 1
            name = f"cam_{stem}_{count}{suffix}"
        names.append(name)
    return names
