"""A run's methods on other inputs than its samples, and on changed networks: for metrics that ask how steady a method is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camtool import metrics
from camtool.analysis.classifier import Classifier
from camtool.analysis.sources import Source
from camtool.apis import Explainer
from camtool.attribution.result import CAMResult
from camtool.methods._base import ATTENTION, INPUT
from camtool.models import Network
from camtool.targets import ClassProbability


@dataclass
class Methods:
    """Explains inputs by the method and at the layer that maps of a store are of.

    Args:
        explainer: of the run's network.
    """

    explainer: Explainer
    classifier: Classifier = field(init=False)
    _made: dict[Source, Explainer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.classifier = Classifier(self.explainer)

    def maps(self, source: Source, inputs: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return maps (n, *spatial) in [0, 1] of preprocessed inputs (n, c, *spatial).

        Args:
            targets: a class each; of a class's probability the class is explained, as in the run.
        """
        if source not in self._made:
            self._made[source] = self._explainer(self.explainer.network, source)
        return self._explained(self._made[source], source, inputs, targets)

    def of_network(self, source: Source, model: nn.Module, inputs: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return maps as `maps`, by another network of the same architecture."""
        changed = self._explainer(replace(self.explainer.network, model=model, gives_probabilities=None), source)
        return self._explained(changed, source, inputs, targets)

    def _explainer(self, network: Network, source: Source) -> Explainer:
        layers = None if source.layer in (ATTENTION, INPUT) else source.layer
        return Explainer(network, method=source.method, target_layers=layers, output=self.explainer.cam.output)

    def _explained(self, explainer: Explainer, source: Source, inputs: Tensor, targets: Sequence[Any]) -> Tensor:
        classes = [target.index if isinstance(target, ClassProbability) else target for target in targets]
        cam = explainer.cam
        result = cam(explainer.network.inputs(inputs, cam.input_axes), classes)
        found = result[source.method] if isinstance(result, dict) else result  # a product (guidedgradcam) brings its factors along
        assert isinstance(found, CAMResult)
        return found.maps.reshape(len(inputs), *found.maps.shape[-(inputs.ndim - 2) :])


@dataclass(frozen=True)
class Batch:
    """Maps of one method, and what it would say of other inputs."""

    methods: Methods
    source: Source
    inputs: Tensor
    maps: Tensor
    targets: Sequence[Any]
    batch_size: int

    def explain(self, inputs: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return the method's maps."""
        return self.methods.maps(self.source, inputs, targets)

    def explain_with(self, model: nn.Module, inputs: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return the method's maps of another network."""
        return self.methods.of_network(self.source, model, inputs, targets)


def adcc(batch: Batch) -> np.ndarray:
    """Return `camtool.metrics.adcc` of a batch."""
    return metrics.adcc(batch.methods.classifier, batch.inputs, batch.maps, batch.explain, batch.targets, batch_size=batch.batch_size)


def max_sensitivity(batch: Batch, *, radius: float, samples: int, seed: int) -> np.ndarray:
    """Return `camtool.metrics.max_sensitivity` of a batch."""
    settings: dict[str, Any] = {"radius": radius, "samples": samples, "seed": seed, "batch_size": batch.batch_size}
    return np.asarray(metrics.max_sensitivity(batch.methods.classifier, batch.inputs, batch.explain, batch.targets, **settings))


def randomisation(batch: Batch, *, cascading: bool, seed: int) -> np.ndarray:
    """Return the mean over layers of `camtool.metrics.randomisation` of a batch; a layer after which a map is flat does not count."""
    by_layer = metrics.randomisation(
        batch.methods.explainer.network.model, batch.inputs, batch.explain_with, batch.targets, cascading=cascading, seed=seed
    )
    values = torch.from_numpy(np.stack(list(by_layer.values())))
    return np.asarray(values.nanmean(dim=0))


def emprt(batch: Batch, *, bins: int, seed: int) -> np.ndarray:
    """Return `camtool.metrics.emprt` of a batch."""
    model = batch.methods.explainer.network.model
    return metrics.emprt(model, batch.inputs, batch.explain_with, batch.targets, bins=bins, seed=seed)
