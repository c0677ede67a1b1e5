"""SelectionResult: the maps of one image, what they explain, and what the network says of its classes."""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from camtool.attribution.result import CAMResult
from camtool.models import Network
from camtool.targets import Output, samples_of


@dataclass(frozen=True)
class ExplainedTarget:
    """What one column of maps explains."""

    index: int | None
    """The class's; None where it is about no class."""
    words: str
    """"probability of tabby cat (281)"."""
    file_name: str
    """In names of files."""
    value: float
    """The target's value on this image."""
    is_class_score: bool = False
    """Whether the class's probability says the same, so that captions show that."""


@dataclass(frozen=True)
class SelectionResult:
    """The maps of one image, what they explain, and what the network says of its classes."""

    results: dict[str, CAMResult]
    """By method, of one sample."""
    targets: list[ExplainedTarget]
    logits: Output
    """(1, classes), or what else the network gives of one sample."""
    by_class: list[float] = field(default_factory=list)
    """Probabilities; of a regression, the numbers themselves; empty where the network does not give one score per class."""
    scale: str = "none"
    """What `by_class` is: "softmax", "sigmoid", "value", or "none" where it is empty."""
    names: list[str] | None = None
    remark: str = ""
    """On class names."""
    ranking: list[int] = field(default_factory=list)
    """Classes by their scores, the highest first: probabilities may round to the same."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What reports say of the target beside its name."""


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
    )


def with_classes(network: Network, result: SelectionResult) -> SelectionResult:
    """Return the result with what the network says of its classes, where it gives one score per class."""
    logits = result.logits
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        return result
    probabilities, scale = network.probabilities(logits)
    names, remark = network.class_names(logits.shape[1])
    return replace(result, by_class=probabilities[0].tolist(), scale=scale, names=names, remark=remark, ranking=ranking_of(logits[0]))


def ranking_of(scores: Tensor) -> list[int]:
    """Return classes by their scores, the highest first; of equal ones the first."""
    return scores.argsort(descending=True, stable=True).tolist()
