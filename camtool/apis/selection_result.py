"""SelectionResult: the maps of one image, their targets, and the network's class scores."""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from camtool.apis.probabilities import class_probabilities
from camtool.attribution.result import CAMResult
from camtool.errors import CamtoolError
from camtool.models import Network
from camtool.targets import Output, samples_of


@dataclass(frozen=True)
class ExplainedTarget:
    """What the maps of one column explain."""

    index: int | None
    """Index of the class; None if the target is not a class."""
    words: str
    """Description: "probability of tabby cat (281)"."""
    file_name: str
    """The target as a part of file names."""
    value: float
    """The target's value on this image."""
    is_class_score: bool = False
    """Whether captions show the class's probability in place of the value."""
    spans: tuple[tuple[float, float], ...] = ()
    """Of a signal: the spans of time that it is about, in seconds."""


@dataclass(frozen=True)
class SelectionResult:
    """The maps of one image, their targets, and the network's class scores."""

    results: dict[str, CAMResult]
    """Results of one sample, by method."""
    targets: list[ExplainedTarget]
    logits: Output
    """Output of the network for one sample: (1, classes), or of another form."""
    by_class: list[float] = field(default_factory=list)
    """Probability of each class (or value, of a regression); empty if the network does not give one score per class."""
    scale: str = "none"
    """What `by_class` is: "softmax", "sigmoid", "probability" (the network gives such), "value", or "none" if it is empty."""
    names: list[str] | None = None
    remark: str = ""
    """Remark on the class names."""
    ranking: list[int] = field(default_factory=list)
    """Classes by descending score; probabilities may round to equal values."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Settings of the target, for reports."""
    refusals: dict[str, CamtoolError] = field(default_factory=dict)
    """With `method="all"`: by method that does not fit the network or this image the reason."""


def sample_of(result: CAMResult, sample: int) -> CAMResult:
    """Return one sample of a batch's result, with n = 1."""
    rows = slice(sample, sample + 1)

    def cut(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {path: tensor[rows] for path, tensor in tensors.items()}

    return replace(
        result,
        maps=result.maps[rows],
        raw=cut(result.raw),
        layer_maps=cut(result.layer_maps),
        status=result.status[rows],
        logits=samples_of(result.logits, rows),
        predicted=None if result.predicted is None else result.predicted[rows],
        targets=result.targets[rows],
        attributions=None if result.attributions is None else result.attributions[rows],
        importances=cut(result.importances),
        by_channel=cut(result.by_channel),
    )


def with_classes(network: Network, result: SelectionResult) -> SelectionResult:
    """Return the result with class probabilities, names and ranking, if the network gives one score per class."""
    logits = result.logits
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        return result
    probabilities, scale = class_probabilities(network, logits)
    names, remark = network.class_names(logits.shape[1])
    return replace(result, by_class=probabilities[0].tolist(), scale=scale, names=names, remark=remark, ranking=ranking_of(logits[0]))


def ranking_of(scores: Tensor) -> list[int]:
    """Return the classes by descending score; equal scores by index."""
    return rankings_of(scores[None])[0]


def rankings_of(scores: Tensor) -> list[list[int]]:
    """Return the classes by descending score, equal scores by index, of each sample.

    Args:
        scores: (n, classes).
    """
    return scores.argsort(dim=1, descending=True, stable=True).tolist()
