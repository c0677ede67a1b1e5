"""Target selections: a target for each class, one target that needs no class, or the similarity to an image."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camtool.apis.images import load_image
from camtool.apis.probabilities import class_probabilities, learn_from
from camtool.apis.selection_result import ExplainedTarget, SelectionResult, ranking_of, sample_of, with_classes
from camtool.apis.subjects import Subject, SubjectLike
from camtool.attribution.cam import CAM
from camtool.attribution.result import CAMResult
from camtool.attribution.sliding_window import SlidingWindow
from camtool.errors import NO_LABEL, TargetError
from camtool.instrumentation.calls import only_call
from camtool.instrumentation.embedding import EmbeddingOutput
from camtool.instrumentation.network_inputs import network_inputs
from camtool.models import Network
from camtool.models.class_labels import find_class, label
from camtool.targets import (
    BinaryScore,
    ClassContrast,
    ClassProbability,
    EmbeddingSimilarity,
    FromLogits,
    RawOutput,
    Region,
    Target,
    build_target,
    build_target_factory,
    chooses_no_class,
    find_target,
)

PREDICTED, LABEL, ALL = "predicted", "label", "all"
"""In place of a class: the predicted one, the true one, every one; a class of such a name is `name:all`."""

Labels = Sequence[int | None]
Names = tuple[list[str] | None, str]
"""Class names, and a remark if there are none."""


class TargetSelection(ABC):
    """Selects the targets of images, and explains them."""

    name: str
    """Name of the target: "logit", "probability", …, "similarity"."""

    @abstractmethod
    def explain(self, cam: CAM | SlidingWindow, network: Network, inputs: Tensor, labels: Labels = ()) -> list[SelectionResult]:
        """Return the result for each image of `inputs` (n, c, h, w).

        Args:
            labels: true class of each image, None where it is not known; (): they are not known.
        """

    @property
    def suffix(self) -> str:
        """The target as a part of file names; empty for the default, the logit."""
        return "" if self.name == "logit" else f"_{self.name}"


def read_selection(
    recipe: Any = None,
    *,
    categories: str | int | Sequence[str | int] = (),
    top_k: int | None = None,
    target: str | Mapping[str, Any] | None = None,
    against: str | int | None = None,
    target_image: SubjectLike | None = None,
) -> TargetSelection:
    """Return the target selection: of the arguments, else of the config's `cam.target` (`recipe`), else of the classes' logits.

    Args:
        categories: a class by index or name, "predicted", "label" (the true class, where it is known) or "all", or several of these;
            empty: the predicted class.
        top_k: select the classes with the highest scores, this many.
        target: the target's name or a config dict.
        against: the other class of a contrast.
        target_image: explain the similarity to this image instead of a class.

    Raises:
        TargetError: if arguments contradict each other, or the target does not exist.
        ImageError: if the reference image cannot be read.
    """
    if isinstance(categories, (str, int)):  # "281" is no sequence of the classes 2, 8 and 1
        categories = [categories]
    if categories and top_k:
        raise TargetError("Give either categories (--target-category) or top_k (--top-k), not both.")
    if target_image is not None:
        others: dict[str, Any] = {"target (--target)": target, "against (--against)": against}
        others |= {"categories (--target-category)": categories, "top_k (--top-k)": top_k}
        for option, value in others.items():
            if value:
                raise TargetError(f"Give either target_image (--target-image), the similarity to an image, or {option}, not both.")
        return SimilaritySelection(target_image if isinstance(target_image, Subject) else load_image(target_image))  # type: ignore[arg-type]
    spec = target or recipe or "logit"
    settings: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    kind = find_target(str(settings["type"])) if "type" in settings else None
    if against is not None and kind is not ClassContrast:
        raise TargetError("against (--against CLASS) belongs to the target 'contrast': one class against another.")
    if against is not None:
        settings["against"] = against
    if kind is ClassContrast and "against" not in settings:
        raise TargetError("The target 'contrast' needs against (--against CLASS), the other class.")
    if kind is None or not chooses_no_class(settings):
        return ClassSelection(settings, categories, top_k)
    if categories or top_k:
        raise TargetError(
            f"The target '{kind.__name__}' takes no categories; leave out categories (--target-category) and top_k (--top-k)."
        )
    reference = settings.get("reference")
    if kind is EmbeddingSimilarity and isinstance(reference, str):
        return SimilaritySelection(load_image(reference))
    if kind is Region and isinstance(settings.get("mask"), str):
        settings["mask"] = load_image(settings["mask"]).picture.max(axis=2) > 0
    return WholeSelection(settings)


class ClassSelection(TargetSelection):
    """One target for each named class, or for the classes with the highest scores."""

    def __init__(self, settings: Mapping[str, Any], categories: Sequence[str | int], top_k: int | None) -> None:
        if top_k is not None and top_k < 1:
            raise TargetError(f"Expected top_k, a number of classes, of at least 1, got {top_k}.")
        factory = build_target_factory(settings)
        assert isinstance(factory, partial)
        self._factory: partial[Target] = factory
        self._categories, self._top_k = [str(category) for category in categories], top_k
        self.name = getattr(factory.func, "name", factory.func.__name__.casefold())
        self._facts = {key: value for key, value in settings.items() if key != "type"}

    def explain(self, cam: CAM | SlidingWindow, network: Network, inputs: Tensor, labels: Labels = ()) -> list[SelectionResult]:
        """Return the results; classes are selected, and their names checked, from the logits of the same forward pass."""
        chosen: list[tuple[list[Any], SelectionResult]] = []

        def choose(logits: Any) -> list[list[Target]]:
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                shape = f"scores of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else "detections"
                raise TargetError(f"The network gives {shape}; expected one score per class.")
            names_of = cache(network.class_names)  # once for the batch: a thousand names are read anew each time
            # Probing calls it, too, with the first sample alone.
            rows = [
                self._chosen(network, names_of, logits[sample : sample + 1], *labels[sample : sample + 1]) for sample in range(len(logits))
            ]
            chosen[:] = _without_repetitions(rows)
            return [targets for targets, _ in chosen]

        results = cam(network.inputs(inputs, cam.input_axes), FromLogits(choose))
        scores = next(iter(results.values())).logits
        if learn_from(scores, network, inputs, cam.input_axes, cam.output) and self._factory.func is not RawOutput:
            if self._factory.func in (ClassProbability, BinaryScore):  # they were taken for logits, in choosing or explaining
                return self.explain(cam, network, inputs, labels)
            choose(scores)  # for the probabilities; the targets are the same
        selected = []
        for sample, (targets, partial_result) in enumerate(chosen):
            of_sample = {method: sample_of(result, sample) for method, result in results.items()}
            logits = next(iter(of_sample.values())).logits
            explained = [self._explained(target, partial_result.names, logits[0]) for target in targets]
            selected.append(replace(partial_result, results=of_sample, targets=explained, logits=logits))
        return selected

    def _chosen(
        self, network: Network, names_of: Callable[[int], Names], logits: Tensor, label_: int | None = None
    ) -> tuple[list[Target], SelectionResult]:
        """Return the targets of one sample, and its result without maps."""
        by_class, scale = self._by_class(network, logits)
        names, remark = names_of(len(by_class))
        ranking = ranking_of(torch.tensor(by_class, device="cpu") if self.name == "binary" else logits[0])
        facts = dict(self._facts)
        targets = [self._target(index, names, scale, logits, facts) for index in self._indices(ranking, names, label_)]
        return targets, SelectionResult({}, [], logits, by_class, scale, names, remark, ranking, facts)

    def _by_class(self, network: Network, logits: Tensor) -> tuple[list[float], str]:
        """Return the probability or value of each class, and the scale as in `SelectionResult.scale`."""
        if self._factory.func is RawOutput:
            return logits[0].float().tolist(), "value"
        probabilities, scale = class_probabilities(network, logits)
        if self.name == "binary":  # both classes share one output
            return [1 - probabilities[0, 0].item(), probabilities[0, 0].item()], scale
        return probabilities[0].tolist(), scale

    def _indices(self, ranking: list[int], names: list[str] | None, label_: int | None) -> list[int]:
        if self._categories:
            return [index for category in self._categories for index in _of_category(category, ranking, names, label_)]
        if self._factory.func is RawOutput and self._top_k is None and len(ranking) > 1:
            raise TargetError(f"The network gives {len(ranking)} numbers; name one or more by categories (--target-category).")
        return ranking[: self._top_k or 1]

    def _target(self, index: int, names: list[str] | None, scale: str, logits: Tensor, facts: dict[str, Any]) -> Target:
        settings: dict[str, Any] = {}
        if "against" in self._factory.keywords:
            settings["against"] = facts["against"] = find_class(str(self._factory.keywords["against"]), names, logits.shape[1])
        if self._factory.func is ClassProbability and "scale" not in self._factory.keywords:
            settings["scale"] = scale
        target = self._factory(index, **settings)
        fitted = getattr(target, "fitted", None)
        return target if fitted is None else fitted(logits, 0)

    def _explained(self, target: Any, names: list[str] | None, logits: Tensor) -> ExplainedTarget:
        named = partial(label, names=names)
        index = target.index
        words = target.describe(named) if hasattr(target, "describe") else f"{self.name} of {named(index)}"
        others = [str(target.against)] if isinstance(target, ClassContrast) else []
        parts = [str(index)] if self.name == "logit" else [self.name, str(index), *others]
        return ExplainedTarget(index, words, "_".join(parts), float(target(logits)), self.name in ("logit", "probability", "binary"))


def _of_category(category: str, ranking: Sequence[int], names: list[str] | None, label_: int | None) -> list[int]:
    """Return the classes that one of the categories names."""
    if category == PREDICTED:
        return [ranking[0]]
    if category == ALL:
        return list(range(len(ranking)))
    if category != LABEL:
        return [find_class(category, names, len(ranking))]
    if label_ is None:
        raise TargetError("The true class is not known here; expected a class, or 'predicted'.", status=NO_LABEL)
    return [find_class(str(label_), names, len(ranking))]


def _without_repetitions(rows: list[tuple[list[Target], SelectionResult]]) -> list[tuple[list[Target], SelectionResult]]:
    """Return the rows with each class once, unless that leaves some samples with fewer targets than others."""
    once = [list({getattr(target, "index", number): target for number, target in enumerate(targets)}.values()) for targets, _ in rows]
    if len({len(targets) for targets in once}) > 1:
        return rows
    return [(targets, result) for targets, (_, result) in zip(once, rows, strict=True)]


class WholeSelection(TargetSelection):
    """One target that needs no choice of a class, for networks with any output: a region's class, a box."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._target = build_target(settings)
        self.name = str(getattr(self._target, "name", type(self._target).__name__.casefold()))
        self._facts = {key: _plain(value) for key, value in settings.items() if key != "type"}

    def explain(self, cam: CAM | SlidingWindow, network: Network, inputs: Tensor, labels: Labels = ()) -> list[SelectionResult]:
        """Return the results; classes are ranked where the network gives one score per class."""
        results = cam(network.inputs(inputs, cam.input_axes), [[self._target]] * len(inputs))
        learn_from(next(iter(results.values())).logits, network, inputs, cam.input_axes, cam.output)
        return [
            self._of_sample(network, {method: sample_of(result, sample) for method, result in results.items()})
            for sample in range(len(inputs))
        ]

    def _of_sample(self, network: Network, results: dict[str, CAMResult]) -> SelectionResult:
        logits = next(iter(results.values())).logits
        with torch.no_grad():
            value = float(self._target(logits[0]))
        explained = ExplainedTarget(getattr(self._target, "index", None), repr(self._target), self.name, value)
        return with_classes(network, SelectionResult(results, [explained], logits, facts=self._facts))


class SimilaritySelection(TargetSelection):
    """Similarity of an image's embedding to that of a reference image."""

    name = "similarity"

    def __init__(self, reference: Subject) -> None:
        self._reference = reference

    @property
    def suffix(self) -> str:
        """The target and the reference image as a part of file names."""
        return f"_{self.name}_{self._reference.stem}"

    def explain(self, cam: CAM | SlidingWindow, network: Network, inputs: Tensor, labels: Labels = ()) -> list[SelectionResult]:
        """Return the results; the reference image takes a forward pass of its own."""
        reference = network.inputs(network.preprocess(self._reference.content).to(inputs.device), cam.input_axes)
        prepared = network_inputs(network.model, reference, network.source.picture_input, cam.input_axes, output=cam.output)
        with only_call(network.model), EmbeddingOutput(network.model, prepared) as embedding:
            target = EmbeddingSimilarity(embedding.reference)
            results = cam(network.inputs(inputs, cam.input_axes), [[target]] * len(inputs))
        facts = {"image": self._reference.name, "embedding": f"{embedding.source}, {len(embedding.reference)} numbers"}
        selected = []
        for sample in range(len(inputs)):
            of_sample = {method: sample_of(result, sample) for method, result in results.items()}
            output = next(iter(of_sample.values())).logits
            logits = embedding.logits[len(inputs)][sample : sample + 1] if embedding.logits else output
            learn_from(logits, network, inputs, cam.input_axes, cam.output)
            words = f"similarity to {self._reference.file_name}"
            explained = ExplainedTarget(None, words, self.suffix.strip("_"), float(target(output[0])))
            selected.append(with_classes(network, SelectionResult(of_sample, [explained], logits, facts=facts)))
        return selected


def _plain(value: Any) -> Any:
    """Return a setting as a JSON value; of a mask its shape."""
    return f"array of shape {tuple(value.shape)}" if isinstance(value, (np.ndarray, Tensor)) else value
