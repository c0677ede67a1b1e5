"""ClassSelection: a target for each named class, or for the classes with the highest scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from camtool.apis.probabilities import class_probabilities, learn_from
from camtool.apis.selection_base import Labels, TargetSelection
from camtool.apis.selection_result import ExplainedTarget, SelectionResult, rankings_of, sample_of
from camtool.attribution.cam import CAM
from camtool.attribution.sliding_window import SlidingWindow
from camtool.errors import NO_LABEL, TargetError
from camtool.models import Network
from camtool.models.class_labels import find_class, label
from camtool.targets import (
    BinaryScore,
    ClassContrast,
    ClassProbability,
    FromLogits,
    RawOutput,
    Target,
    build_target_factory,
)

PREDICTED, LABEL, ALL = "predicted", "label", "all"
"""In place of a class: the predicted one, the true one, every one; a class of such a name is `name:all`."""


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
                hints = {3: "a signal's frames are explained by --span FROM:TO, all or predicted"}
                of_positions = "positions are explained by --target region --target-category CLASS"
                hint = f"; scores of {hints.get(logits.ndim, of_positions)}" if isinstance(logits, Tensor) and logits.ndim > 2 else ""
                raise TargetError(f"The network gives {shape}; expected one score per class{hint}.")
            # Probing calls it, too, with the first sample alone.
            chosen[:] = _without_repetitions(self._chosen(network, logits, labels))
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

    def _chosen(self, network: Network, logits: Tensor, labels: Labels) -> list[tuple[list[Target], SelectionResult]]:
        """Return the targets of each sample, and its result without maps."""
        # Row by row: a softmax of several rows rounds them by where they stand in the batch.
        own = [logits[sample : sample + 1] for sample in range(len(logits))]
        by_class = [self._by_class(network, scores) for scores in own]
        # Once for the batch: a thousand names are read anew each time, and sorting a thousand numbers takes as long as a small layer.
        names, remark = network.class_names(len(by_class[0][0]))
        rankings = rankings_of(torch.tensor([values for values, _ in by_class], device="cpu") if self.name == "binary" else logits)
        rows: list[tuple[list[Target], SelectionResult]] = []
        for sample, (scores, (values, scale), ranking) in enumerate(zip(own, by_class, rankings, strict=True)):
            facts = dict(self._facts)
            indices = self._indices(ranking, names, next(iter(labels[sample : sample + 1]), None))
            targets = [self._target(index, names, scale, scores, facts) for index in indices]
            rows.append((targets, SelectionResult({}, [], scores, values, scale, names, remark, ranking, facts)))
        return rows

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
            return [index for category in self._categories for index in of_category(category, ranking, names, label_)]
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


def of_category(category: str, ranking: Sequence[int], names: list[str] | None, label_: int | None) -> list[int]:
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
