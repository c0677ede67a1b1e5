"""Target selections: a target for each class, one target that needs no class, or the similarity to an image."""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camtool.apis.class_selection import ClassSelection
from camtool.apis.frames import FrameSelection
from camtool.apis.images import load_image
from camtool.apis.probabilities import learn_from
from camtool.apis.region_selection import RegionSelection, region_words
from camtool.apis.scan_regions import ScanMask
from camtool.apis.selection_base import Labels, TargetSelection
from camtool.apis.selection_result import ExplainedTarget, SelectionResult, sample_of, with_classes
from camtool.apis.subjects import Subject, SubjectLike
from camtool.attribution.cam import CAM
from camtool.attribution.result import CAMResult
from camtool.attribution.sliding_window import SlidingWindow
from camtool.errors import TargetError
from camtool.instrumentation.calls import only_call
from camtool.instrumentation.embedding import EmbeddingOutput
from camtool.instrumentation.network_inputs import network_inputs
from camtool.io.volumes import kind_of, read_volume
from camtool.models import Network
from camtool.models.class_labels import find_class
from camtool.targets import (
    ClassContrast,
    EmbeddingSimilarity,
    FromLogits,
    Region,
    Target,
    build_target,
    chooses_no_class,
    find_target,
)


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
    if kind is Region and ("span" in settings or settings.get("mask") is None):
        return _of_seen_region(settings, categories, top_k)
    if kind is None or not chooses_no_class(settings):
        return ClassSelection(settings, categories, top_k)
    if categories or top_k:
        raise TargetError(
            f"The target '{kind.__name__}' takes no categories; leave out categories (--target-category) and top_k (--top-k)."
        )
    reference = settings.get("reference")
    if kind is EmbeddingSimilarity and isinstance(reference, str):
        return SimilaritySelection(load_image(reference))
    return _of_mask_file(settings) if kind is Region and isinstance(settings.get("mask"), (str, Path)) else WholeSelection(settings)


def _of_seen_region(settings: dict[str, Any], categories: Sequence[str | int], top_k: int | None) -> TargetSelection:
    """Return the selection of a region without a mask: a span of frames, or where the network sees a class."""
    if "span" in settings:
        return FrameSelection(settings, categories, top_k)
    return RegionSelection(categories or [settings[key] for key in ("index",) if key in settings])


def _of_mask_file(settings: dict[str, Any]) -> "WholeSelection":
    """Return the selection of a region by the file of its mask, a volume or a picture."""
    path, resample = Path(settings["mask"]).expanduser(), settings.pop("resample_mask", False)
    if kind_of(path) is not None or path.suffix.lower() in (".mhd", ".nhdr"):
        return WholeSelection({**settings, "mask": str(path)}, ScanMask(read_volume(path), resample), path)
    return WholeSelection({**settings, "mask": load_image(path).picture.max(axis=2) > 0}, path=path)


class WholeSelection(TargetSelection):
    """One target that needs no choice of a class, for networks with any output: a region's class, a box.

    Args:
        mask: of a region of scans.
        path: of a region's mask, in words and reports; None: it is no file.
    """

    def __init__(self, settings: Mapping[str, Any], mask: ScanMask | None = None, path: Path | None = None) -> None:
        self._mask, self._place = mask, "a region" if path is None else path.name
        index = settings.get("index")
        self._category = index if isinstance(index, str) else None
        if self._category is not None:  # its index is known with the network
            settings = {**settings, "index": 0}
        self._target = build_target(settings if mask is None else {**settings, "mask": mask.mask.values != 0})
        self._targets: Sequence[Target] = ()
        self._index: Any = settings.get("index")
        self.name = str(getattr(self._target, "name", type(self._target).__name__.casefold()))
        self._facts = {key: _plain(value) for key, value in settings.items() if key != "type"}
        if path is not None:
            self._facts["mask"] = str(path)
        if self._category is not None:
            self._facts["index"] = self._category

    def explain(self, cam: CAM | SlidingWindow, network: Network, inputs: Tensor, labels: Labels = ()) -> list[SelectionResult]:
        """Return the results; classes are ranked where the network gives one score per class."""
        targets = self._targets or [self._target] * len(inputs)
        named = list(targets)

        def choose(scores: Any) -> list[list[Target]]:
            if not isinstance(scores, Tensor) or scores.ndim < 2:
                raise TargetError(f"Class '{self._category}' is one of scores (n, classes, *spatial), which the network does not give.")
            classes = scores.shape[-1 if getattr(self._target, "classes_last", False) else 1]
            index = find_class(str(self._category), network.class_names(classes)[0], classes)
            # Probing calls it, too, with the first sample alone.
            named[: len(scores)] = [_of_class(target, index) for target in targets[: len(scores)]]
            return [[target] for target in named[: len(scores)]]

        explained = [[target] for target in targets] if self._category is None else FromLogits(choose)
        results = cam(network.inputs(inputs, cam.input_axes), explained)
        learn_from(next(iter(results.values())).logits, network, inputs, cam.input_axes, cam.output)
        return [
            self._of_sample(network, target, {method: sample_of(result, sample) for method, result in results.items()})
            for sample, target in enumerate(named)
        ]

    def fitted(self, subjects: Sequence[Subject], network: Network) -> "WholeSelection":
        """Return the selection of the mask as it lies on the network's input for each scan."""
        if self._mask is None:
            return self
        fitted = copy(self)
        fitted._targets = self._mask.regions(subjects, network, self._index)
        return fitted

    def _of_sample(self, network: Network, target: Target, results: dict[str, CAMResult]) -> SelectionResult:
        logits = next(iter(results.values())).logits
        with torch.no_grad():
            value = float(target(logits[0]))
        words, names, remark = repr(target), None, ""
        if isinstance(target, Region) and isinstance(logits, Tensor):
            names, remark = network.class_names(logits.shape[-1 if target.classes_last else 1])
            words = region_words(target, names, self._place)
        explained = ExplainedTarget(getattr(target, "index", None), words, self.name, value)
        found = SelectionResult(results, [explained], logits, names=names, remark=remark, facts=self._facts)
        return with_classes(network, found)


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


def _of_class(target: Target, index: int) -> Target:
    """Return a region's target for another class."""
    return Region(target.mask, index, classes_last=target.classes_last) if isinstance(target, Region) else target


def _plain(value: Any) -> Any:
    """Return a setting as a JSON value; of a mask its shape."""
    return f"array of shape {tuple(value.shape)}" if isinstance(value, (np.ndarray, Tensor)) else value
