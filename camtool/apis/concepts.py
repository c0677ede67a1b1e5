"""Concepts of an image by deep feature factorization (`--method dff`): maps, figure, and the classes of each concept."""

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from camtool.apis.explainer import Explainer
from camtool.apis.figures import FigureOptions, Figures, Key
from camtool.apis.provenance import placement_report
from camtool.apis.subjects import Subject, SubjectLike
from camtool.concepts.deep_feature_factorization import Concepts, deep_feature_factorization
from camtool.errors import MethodError
from camtool.io.images import encode
from camtool.models import Network
from camtool.models.class_labels import short_name
from camtool.visualization.concepts import ConceptMaps

NAME = "dff"
COMPONENTS = 5
_TOP = 2  # classes a concept, as in pytorch-grad-cam's legend


@dataclass
class ConceptExplanation:
    """The concepts of one image, as `explain_concepts` returns them."""

    image: Subject
    inputs: Tensor = field(repr=False)
    """(1, c, *spatial), on the CPU: the preprocessed image."""
    network: Network = field(repr=False)
    concepts: Concepts = field(repr=False)
    classes: list[list[dict[str, Any]]]
    """By concept the classes with the highest scores: index, name, probability; empty lists if concepts have no scores."""

    file_label = NAME

    @property
    def labels(self) -> list[str]:
        """One line for each concept: its number and its classes."""
        labels = []
        for number, classes in enumerate(self.classes, start=1):
            words = [
                f"{short_name(entry['name']) if entry['name'] else 'class'} ({entry['index']}), {100 * entry['probability']:.1f} %"
                for entry in classes
            ]
            labels.append(f"{number}: {'; '.join(words)}" if words else f"concept {number}")
        return labels

    def draw(self, options: FigureOptions, *, single: bool = False) -> Figures:
        """Return the figure: the image, the concepts over it, and a legend."""
        canvas = self.image.canvas(self.inputs, self.network.preprocess, original=options.original)
        maps = self.concepts.maps[0].cpu().numpy()
        figure = canvas.concepts(
            ConceptMaps(
                np.stack([canvas.placed(concept) for concept in maps]),
                self.labels,
                [f"{len(maps)} concepts at {self.concepts.layer}"],
                options.opacity,
                remarks=["no class scores: the head is not pooling and one linear layer"] if self.concepts.remark else [],
                alarm="RANDOM WEIGHTS: these concepts mean nothing" if self.network.checkpoint is None else "",
            )
        )
        return Figures(figure, {(NAME, "", ""): figure} if single else {})

    def encoded(self, figures: Figures, suffix: str, options: FigureOptions) -> bytes:
        """Return the content of a file of this suffix; OutputError if it is not a format that can be written."""
        return encode(figures.whole, suffix)

    def of_one_map(self, figures: Figures, key: Key) -> dict[str, bytes]:
        """Return the files of the figure in a folder, by suffix."""
        return {".jpg": encode(figures.single[key], ".jpg")}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dict of JSON values."""
        return {
            "image": self.image.name,
            "methods": [NAME],
            "layers": [self.concepts.layer],
            "layers_reason": self.concepts.reason,
            "placement": {self.concepts.layer: placement_report(self.concepts.placement)},
            "concepts": [{"classes": classes} for classes in self.classes],
            "remark": self.concepts.remark,
            "checkpoint": self.network.checkpoint or "random weights",
        }

    def arrays(self) -> bytes:
        """Return the content of a .npz file: maps, raw maps, vectors, logits and, if there are any, the concepts' scores."""
        concepts = self.concepts
        arrays: dict[str, Any] = {
            "map/dff": concepts.maps[0],
            f"raw/dff/{concepts.layer}": concepts.raw[0],
            "vectors": concepts.vectors,
        }
        if isinstance(concepts.logits, Tensor):
            arrays["logits"] = concepts.logits[0].float()
        if concepts.scores is not None:
            arrays["scores"] = concepts.scores
        facts = self.image.facts()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: tensor.cpu().numpy() for name, tensor in arrays.items()}, **facts)
        return buffer.getvalue()


def explain_concepts(explainer: Explainer, image: SubjectLike, *, n_components: int = COMPONENTS, number: int = 0) -> ConceptExplanation:
    """Return the concepts of an image at the explainer's target layer.

    Args:
        n_components: number of concepts.
        number: names an image without a file: "image_0".

    Raises:
        MethodError: if there are several target layers, or `n_components` is out of range.
        ImageError: if the image cannot be read.

    Example:
        >>> from camtool.apis import Explainer
        >>> from camtool.apis.concepts import explain_concepts
        >>> explainer = Explainer("efficientnet-lite0_in1k")
        >>> explanation = explain_concepts(explainer, "demo/cat.jpg", n_components=3)
        >>> explanation.concepts.maps.shape, len(explanation.labels)
        (torch.Size([1, 3, 224, 224]), 3)
    """
    layers = explainer.settings.cam["target_layers"]
    layers = list(layers) if isinstance(layers, (list, tuple)) else [layers]
    if len(layers) > 1:
        raise MethodError(f"'{NAME}' factorizes one layer, got {len(layers)} target layers; give one.")
    network = explainer.network
    picture, inputs = explainer.preprocessed(image, number)
    concepts = deep_feature_factorization(
        network.model,
        network.inputs(inputs.to(next(network.model.parameters()).device), explainer.cam.input_axes),
        n_components,
        target_layer=layers[0],
        layout=explainer.settings.cam["layout"],
        placement=explainer.placement,
        input=network.source.picture_input,
        input_axes=explainer.cam.input_axes,
        call=explainer.settings.cam["call"],
        output=explainer.cam.output,
        seed=explainer.settings.model.seed,
    )
    return ConceptExplanation(picture, inputs, network, concepts, _classes(network, concepts))


def _classes(network: Network, concepts: Concepts) -> list[list[dict[str, Any]]]:
    if concepts.scores is None:
        return [[] for _ in concepts.vectors]
    names, _ = network.class_names(concepts.scores.shape[1])
    probabilities, _ = network.probabilities(concepts.scores)
    best = probabilities.topk(min(_TOP, probabilities.shape[1]), dim=1)
    return [
        [
            {"index": index, "name": names[index] if names else None, "probability": round(value, 6)}
            for index, value in zip(*row, strict=True)
        ]
        for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
