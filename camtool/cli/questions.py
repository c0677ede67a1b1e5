"""What the maps of a picture explain, as the command line asks for it: classes, in one of several ways, or a likeness."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from camtool.errors import TargetError
from camtool.targets import (
    ClassContrast,
    ClassProbability,
    EmbeddingSimilarity,
    FromLogits,
    RawOutput,
    Target,
    build_target_factory,
    find_target,
)

if TYPE_CHECKING:
    from camtool import CAM
    from camtool.attribution.result import CAMResult
    from camtool.cli.explain import Request
    from camtool.io.images import Picture
    from camtool.models import Network


@dataclass(frozen=True)
class Aim:
    """What one column of maps explains."""

    index: int | None
    """The class's; None where it is about no class."""
    words: str
    """"probability of tabby cat (281)"."""
    file_name: str
    """In names of files."""
    value: float
    """The target's value on this picture."""


@dataclass(frozen=True)
class Answers:
    """What the engine says to a question, and what the network says of the classes."""

    results: "dict[str, CAMResult]"
    aims: list[Aim]
    logits: Tensor
    """(1, classes)"""
    by_class: list[float]
    """Probabilities; of a regression, the numbers themselves."""
    scale: str
    """What `by_class` is: "softmax", "sigmoid" or "value"."""
    names: list[str] | None
    remark: str
    """On class names."""
    ranking: list[int]
    """Classes by their scores, the highest first: probabilities may round to the same."""


class Question(ABC):
    """What is asked of the network."""

    name: str
    """As a target is called: "logit", "probability", …, "similarity"."""
    facts: dict[str, Any]
    """What reports say of it beside its name."""

    @abstractmethod
    def ask(self, cam: "CAM", network: "Network", inputs: Tensor) -> Answers:
        """Return the answers for the picture `inputs` (1, c, h, w)."""

    @property
    def suffix(self) -> str:
        """What tells its file from that of the usual question, the logit."""
        return "" if self.name == "logit" else f"_{self.name}"


def read_question(request: "Request", recipe: dict[str, Any]) -> Question:
    """Return the question of the command line, else of the config's `cam`, else the classes' logits.

    Raises:
        TargetError: if options contradict each other, or a kind of target does not exist.
        ImageError: if the reference picture cannot be read.
    """
    if request.target_image is not None:
        others = {
            "--target": request.target,
            "--against": request.against,
            "--target-category": request.categories,
            "--top-k": request.top_k,
        }
        for option, given in others.items():
            if given:
                raise TargetError(f"Give either --target-image, the likeness to a picture, or {option}, not both.")
        from camtool.io.images import read_picture

        return Similarity(request.target_image, read_picture(request.target_image))
    spec = request.target or recipe.get("target") or "logit"
    settings = {"type": spec} if isinstance(spec, str) else dict(spec)
    is_contrast = "type" in settings and find_target(str(settings["type"])) is ClassContrast
    if request.against is not None and not is_contrast:
        raise TargetError("--against CLASS is for --target contrast: one class against another.")
    if request.against is not None:
        settings["against"] = request.against
    if is_contrast and "against" not in settings:
        raise TargetError("--target contrast needs --against CLASS, the other class.")
    return Classes(settings, request.categories, request.top_k)


class Classes(Question):
    """One kind of target for each class that is named, or for the best ones."""

    def __init__(self, settings: dict[str, Any], categories: Sequence[str], top_k: int | None) -> None:
        kind = build_target_factory(settings)
        assert isinstance(kind, partial)
        self._kind: partial[Target] = kind
        self._categories, self._top_k = categories, top_k
        self.name = getattr(kind.func, "name", kind.func.__name__.casefold())
        self.facts = {key: value for key, value in settings.items() if key != "type"}

    def ask(self, cam: "CAM", network: "Network", inputs: Tensor) -> Answers:
        """Return the answers; the classes are found, and their names checked, with the one forward pass."""
        chosen: dict[str, Any] = {}

        def choose(logits: Any) -> list[list[Target]]:
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                found = f"scores of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else "detections"
                raise TargetError(f"The network gives {found}; expected one per class.")
            by_class, scale = self._by_class(network, logits)
            names, remark = network.class_names(len(by_class))
            ranking = _ranking(torch.tensor(by_class) if self.name == "binary" else logits[0])
            targets = [self._target(index, names, scale, logits) for index in self._indices(ranking, names)]
            chosen.update(by_class=by_class, scale=scale, names=names, remark=remark, ranking=ranking, targets=targets)
            return [targets]

        results = cam(network.source.inputs(inputs), FromLogits(choose))
        logits = next(iter(results.values())).logits
        targets = chosen.pop("targets")
        return Answers(results, [self._aim(target, chosen["names"], logits[0]) for target in targets], logits, **chosen)

    def _by_class(self, network: "Network", logits: Tensor) -> tuple[list[float], str]:
        """Return what the table shows of each class, and what it is."""
        if self._kind.func is RawOutput:
            return logits[0].float().tolist(), "value"
        found, scale = network.probabilities(logits)
        if self.name == "binary":  # its two classes share an output
            return [1 - found[0, 0].item(), found[0, 0].item()], scale
        return found[0].tolist(), scale

    def _indices(self, ranking: list[int], names: list[str] | None) -> list[int]:
        from camtool.models.class_labels import find_class

        if self._categories:
            indices = [find_class(category, names, len(ranking)) for category in self._categories]
            return list(dict.fromkeys(indices))  # one named twice is taken once
        if self._kind.func is RawOutput and self._top_k is None and len(ranking) > 1:
            raise TargetError(f"The network gives {len(ranking)} numbers; name one or more by --target-category.")
        return ranking[: self._top_k or 1]

    def _target(self, index: int, names: list[str] | None, scale: str, logits: Tensor) -> Target:
        from camtool.models.class_labels import find_class

        settings: dict[str, Any] = {}
        if "against" in self._kind.keywords:
            settings["against"] = self.facts["against"] = find_class(str(self._kind.keywords["against"]), names, logits.shape[1])
        if self._kind.func is ClassProbability and "scale" not in self._kind.keywords:
            settings["scale"] = scale
        target = self._kind(index, **settings)
        fitted = getattr(target, "fitted", None)
        return target if fitted is None else fitted(logits, 0)

    def _aim(self, target: Any, names: list[str] | None, logits: Tensor) -> Aim:
        from camtool.models.class_labels import label

        named = partial(label, names=names)
        index = target.index
        words = target.describe(named) if hasattr(target, "describe") else f"{self.name} of {named(index)}"
        others = [str(target.against)] if isinstance(target, ClassContrast) else []
        parts = [str(index)] if self.name == "logit" else [self.name, str(index), *others]
        return Aim(index, words, "_".join(parts), float(target(logits)))


class Similarity(Question):
    """How much the picture is like another to the network."""

    name = "similarity"

    def __init__(self, path: Path, picture: "Picture") -> None:
        self._path, self._picture = path, picture
        self.facts = {"image": str(path)}

    @property
    def suffix(self) -> str:
        """What tells its file from others'."""
        return f"_{self.name}_{self._path.stem}"

    def ask(self, cam: "CAM", network: "Network", inputs: Tensor) -> Answers:
        """Return the answers; the reference picture takes a forward pass of its own."""
        from camtool.instrumentation.embedding import EmbeddingOutput
        from camtool.instrumentation.inputs import find_inputs

        source = network.source
        reference = network.preprocess(self._picture).to(inputs.device)
        with EmbeddingOutput(network.model, find_inputs(source.inputs(reference), source.picture_input)) as embedding:
            target = EmbeddingSimilarity(embedding.reference)
            results = cam(source.inputs(inputs), [[target]])
        given = next(iter(results.values())).logits
        logits = given if embedding.logits is None else embedding.logits
        self.facts["embedding"] = f"{embedding.source}, {len(embedding.reference)} numbers"
        found, scale = network.probabilities(logits)
        names, remark = network.class_names(logits.shape[1])
        aim = Aim(None, f"similarity to {self._path.name}", self.suffix.strip("_"), float(target(given[0])))
        return Answers(results, [aim], logits, found[0].tolist(), scale, names, remark, _ranking(logits[0]))


def _ranking(scores: Tensor) -> list[int]:
    return scores.argsort(descending=True, stable=True).tolist()
