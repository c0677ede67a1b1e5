"""Explanation: the maps of one image, their targets, and the figures, files and reports made from them."""

import io
import json
import os
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from camtool.apis.canvas import Canvas, shown
from camtool.apis.figures import RANDOM_WEIGHTS, FigureOptions, Figures, Key, draw
from camtool.apis.model import ModelRequest
from camtool.apis.outputs import methods_as_file_name
from camtool.apis.provenance import placement_report, versions
from camtool.apis.selection_base import TargetSelection
from camtool.apis.selection_result import ExplainedTarget, SelectionResult
from camtool.apis.subjects import Subject
from camtool.attribution.result import CAMResult
from camtool.io.atomic import write_atomically
from camtool.io.names import suffix_of
from camtool.models import Network

TOP = 5
"""Number of classes in `top5`."""

NO_CLASS = -1
"""Index in saved arrays of a target that is not a class."""


@dataclass
class Explanation:
    """The maps of one image, as `Explainer` returns them.

    Example:
        >>> import numpy as np
        >>> from camtool import Explainer
        >>> explainer = Explainer("torchvision/squeezenet1_1", random_weights=True)
        >>> explanation = explainer(np.zeros((64, 64, 3), np.uint8), categories=[281, 967])
        >>> [target["index"] for target in explanation.targets], len(explanation.top5)
        ([281, 967], 5)
        >>> explanation.results["gradcam"].maps.shape, explanation.figure(kind="heatmap").dtype
        (torch.Size([1, 2, 224, 224]), dtype('uint8'))
    """

    image: Subject
    """The image itself, and its name."""
    inputs: Tensor = field(repr=False)
    """(1, c, *spatial), on the CPU: the preprocessed image."""
    network: Network = field(repr=False)
    model: ModelRequest
    selection: TargetSelection = field(repr=False)
    answer: SelectionResult = field(repr=False)
    refused: dict[str, str]
    """With `method="all"`: by method that does not fit the network the reason."""
    layers: list[str]
    """Target layers; empty if no method reads any."""
    layers_reason: str
    """Why these target layers."""
    aug_smooth: bool
    eigen_smooth: bool
    seconds: dict[str, float]
    """Time by part, "forward" and "maps"; of a batch the share of one image."""
    every_method: bool
    """Whether the method was "all"."""
    factors: tuple[str, ...]
    """Methods that were not asked for: factors of a product, shown beside it."""
    warnings: list[str]
    """Warnings raised while this image was explained."""

    @property
    def results(self) -> dict[str, CAMResult]:
        """Results by method; `results["gradcam"].maps` is (1, k, h, w) for k targets."""
        return self.answer.results

    @property
    def predicted(self) -> int | None:
        """The class with the highest score; None if the network does not give one score per class."""
        return self.answer.ranking[0] if self.answer.ranking else None

    @property
    def top5(self) -> list[dict[str, Any]]:
        """The classes with the highest scores, best first: index, name, probability (or value, of a regression)."""
        return [self.class_facts(index) for index in self.answer.ranking[:TOP]]

    @property
    def targets(self) -> list[dict[str, Any]]:
        """The target of each map: a class, as in `top5`, or a description if the target is not a class."""
        return [self.target_facts(target) for target in self.answer.targets]

    def class_name(self, index: int) -> str | None:
        """Return a class's full name; None if the class names are unknown."""
        return self.answer.names[index] if self.answer.names else None

    def class_facts(self, index: int) -> dict[str, Any]:
        """Return a class's index, name, and probability (or value, of a regression)."""
        number = "value" if self.answer.scale == "value" else "probability"
        return {"index": index, "name": self.class_name(index), number: round(self.answer.by_class[index], 6)}

    def target_facts(self, target: ExplainedTarget) -> dict[str, Any]:
        """Return the facts of a target: those of its class, or its description as the name if it is not a class."""
        if target.index is not None and self.answer.by_class:
            return self.class_facts(target.index)
        return {"index": target.index, "name": target.words, "probability": None}

    def shown(self, index: int) -> str:
        """Return a class's probability (or value, of a regression) as text."""
        return shown(self.answer, index)

    @cached_property
    def _canvases(self) -> dict[bool, Canvas]:
        return {}

    def canvas(self, *, original: bool = False) -> Canvas:
        """Return the image that maps are drawn on; ImageError if it is the original and the preprocessing cannot be undone."""
        if original not in self._canvases:
            self._canvases[original] = self.image.canvas(self.inputs, self.network.preprocess, original=original)
        return self._canvases[original]

    def draw(self, options: FigureOptions, *, single: bool = False) -> Figures:
        """Return the figure of all maps, and with `single` one of each map."""
        alarm = RANDOM_WEIGHTS if self.network.checkpoint is None else ""
        return draw(self.canvas(original=options.original), self.answer, options, alarm=alarm, single=single)

    def encoded(self, figures: Figures, suffix: str, options: FigureOptions) -> bytes:
        """Return the content of a file of this suffix.

        Raises:
            OutputError: if the suffix is not a format that can be written, or a file of it cannot hold these maps.
        """
        asked = [cell for (method, _, _), cell in figures.cells.items() if method not in self.factors]
        return self.canvas(original=options.original).encoded(figures.whole, asked, suffix, options.style)

    def of_one_map(self, figures: Figures, key: Key) -> dict[str, bytes]:
        """Return the files of one map in a folder, by suffix: a picture; of a volume a volume, too."""
        return self.canvas().of_one_map(figures.single[key], figures.cells[key])

    def figure(self, **options: Any) -> UInt8[np.ndarray, "H W 3"]:
        """Return one RGB figure of all maps.

        Args:
            options: `kind` ("overlay", "panel", "heatmap"), `colormap`, `opacity`, `original`, `per_layer`, `caption`, `signed`, `scale`;
                see `FigureOptions`.

        Raises:
            OutputError: if there is no such kind or colormap, the opacity is out of range, or the figure does not show a setting.
        """
        chosen = FigureOptions(**options)
        chosen.check()
        chosen.check_effect(".png", self.canvas(original=chosen.original).formats)
        return self.draw(chosen).whole

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write the figure, or of a volume the map, whole or not at all, in the format of the suffix; return its path.

        Args:
            options: as of `figure`.

        Raises:
            OutputError: if the suffix is not a format that can be written or does not show a setting, or the file cannot be written.
        """
        target, chosen = Path(os.path.expanduser(path)), FigureOptions(**options)
        chosen.check()
        suffix = suffix_of(target)
        chosen.check_effect(suffix, self.canvas(original=chosen.original).formats)
        write_atomically(target, self.encoded(self.draw(chosen), suffix, chosen))
        return target

    @property
    def file_label(self) -> str:
        """Methods and target as a part of the file's name: "gradcam_contrast"."""
        return (
            methods_as_file_name([result.label or method for method, result in self.results.items()], every=self.every_method)
            + self.selection.suffix
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dict of JSON values: classes, targets, methods, layers, weights, status, warnings."""
        network = self.network
        loaded = (
            None
            if network.keys is None
            else {"source": network.checkpoint, "sha256": network.digest, "key": network.wrapper, **asdict(network.keys)}
        )
        return {
            "image": self.image.name,
            "predicted": None if self.predicted is None else self.class_facts(self.predicted),
            "top5": self.top5,
            "targets": self.targets,
            "target": self.target_report(),
            "probabilities": self.answer.scale,
            "methods": list(self.results),
            "settings": {method: result.settings for method, result in self.results.items() if result.settings},
            "refused": self.refused,
            "layers": self.layers,
            "layers_reason": self.layers_reason,
            "calls": self.calls,
            "output": self.output or None,
            "other_outputs": {name: list(shape) for name, shape in self.outputs.items() if name != self.output},
            "sources": {method: result.source for method, result in self.results.items()},
            "placement": self.placement,
            "checkpoint": network.checkpoint or "random weights",
            "weights": loaded,
            "status": self.status,
            "warnings": self.warnings,
            "seconds": {name: round(seconds, 4) for name, seconds in self.seconds.items()},
        }

    @property
    def calls(self) -> dict[str, int]:
        """By path of the target layers that a forward pass calls several times: the number of the call that is explained."""
        return {path: call for result in self.results.values() for path, call in result.calls.items()}

    @property
    def output(self) -> str:
        """Name of the network's output that targets and classes refer to; "" if it returns one tensor."""
        return next(iter(self.results.values())).output

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sample's part of each output that could be explained, by name."""
        return next(iter(self.results.values())).outputs

    @property
    def placement(self) -> dict[str, dict[str, Any]]:
        """Where the cells of each layer's raw map lie on the network's input, and where that comes from."""
        by_layer = {layer: place for result in self.results.values() for layer, place in result.placement.items()}
        return {layer: placement_report(place) for layer, place in by_layer.items()}

    @property
    def status(self) -> dict[str, list[str]]:
        """Status of each target's map by method: "ok", or what is wrong with the map."""
        return {method: result.status[0] for method, result in self.results.items()}

    def target_report(self) -> dict[str, Any]:
        """Return the report of the target: its name, its settings, and its value for each map."""
        targets = self.answer.targets
        return {
            "name": self.selection.name,
            **self.answer.facts,
            "explains": [target.words for target in targets],
            "values": [round(target.value, 6) for target in targets],
        }

    def arrays(self) -> bytes:
        """Return the content of a .npz file: maps, signed raw maps, logits, targets, and the settings as JSON."""
        answer = self.answer
        arrays: dict[str, Any] = {}
        for method, result in self.results.items():
            arrays[f"map/{method}"] = result.maps[0].float().cpu().numpy()
            if result.attributions is not None:
                arrays[f"attributions/{method}"] = result.attributions[0].float().cpu().numpy()
            for kind, by_layer in (("raw", result.raw), ("by_channel", result.by_channel)):
                arrays |= {f"{kind}/{method}/{layer}": values[0].float().cpu().numpy() for layer, values in by_layer.items()}
        if isinstance(answer.logits, Tensor):
            arrays["logits"] = answer.logits[0].float().cpu().numpy()
        arrays["predicted"] = np.array(NO_CLASS if self.predicted is None else self.predicted, dtype=np.int64)
        arrays["targets"] = np.array([NO_CLASS if target.index is None else target.index for target in answer.targets], dtype=np.int64)
        arrays["target_names"] = np.array([self._array_name(target) for target in answer.targets], dtype=np.str_)
        arrays["meta"] = np.array(json.dumps(self._meta(), ensure_ascii=False), dtype=np.str_)
        arrays.update(self.image.facts())
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    def _array_name(self, target: ExplainedTarget) -> str:
        if target.index is None or not self.answer.by_class:
            return target.words
        return self.class_name(target.index) or str(target.index)

    def _meta(self) -> dict[str, Any]:
        report = self.to_dict()
        kept = (
            "image",
            "checkpoint",
            "layers",
            "calls",
            "output",
            "methods",
            "settings",
            "refused",
            "sources",
            "placement",
            "target",
            "status",
        )
        return {
            **{key: report[key] for key in kept},
            "config": self.model.config,
            "cfg_options": self.model.cfg_options,
            "checkpoint_sha256": self.network.digest,
            "aug_smooth": self.aug_smooth,
            "eigen_smooth": self.eigen_smooth,
            "versions": versions(),
        }
