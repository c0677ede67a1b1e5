"""A run's methods on other inputs than its samples, and on changed networks: for metrics that ask how steady a method is."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camtool import metrics
from camtool.analysis.classifier import Classifier
from camtool.analysis.sources import Source
from camtool.apis import Explainer
from camtool.apis.stored_pictures import scaled_map
from camtool.attribution.result import CAMResult
from camtool.errors import CamtoolWarning
from camtool.evaluation.run_settings import RunExplainer, explainer_of_run
from camtool.methods._base import ATTENTION, INPUT
from camtool.models import Network
from camtool.runs.rows import map_status
from camtool.store import MapRow
from camtool.targets import ClassProbability


@dataclass
class Methods:
    """Explains inputs by the methods and at the layers that maps of a store are of, with the settings and the target of the run.

    Args:
        explainer: of the run's network.
        run: description of the run; {}: methods have their default settings, or those of the config.
    """

    explainer: Explainer
    run: Mapping[str, Any] = field(default_factory=dict)
    classifier: Classifier = field(init=False)
    _made: dict[tuple[Source, ...], RunExplainer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.classifier = Classifier(self.explainer)

    def maps(self, sources: Sequence[Source], inputs: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Return by source, in words, maps (n, *spatial) in [0, 1] of preprocessed inputs (n, c, *spatial).

        Methods at one layer share the passes of the network that they can share.

        Args:
            targets: a class each, or its probability; what is explained of the class is the run's target.
        """
        found: dict[str, Tensor] = {}
        for group in _by_layer(sources):
            if group not in self._made:
                self._made[group] = self._explainer(self.explainer.network, group)
            found |= self._explained(self._made[group], group, inputs, targets)
        return {str(source): found[str(source)] for source in sources}

    def of_network(self, sources: Sequence[Source], model: nn.Module, inputs: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Return maps as `maps`, by another network of the same architecture."""
        network = replace(self.explainer.network, model=model, gives_probabilities=None)
        found: dict[str, Tensor] = {}
        for group in _by_layer(sources):
            found |= self._explained(self._explainer(network, group), group, inputs, targets)
        return {str(source): found[str(source)] for source in sources}

    def _explainer(self, network: Network, group: Sequence[Source]) -> RunExplainer:
        return explainer_of_run(network, self.run, self.explainer, group)

    def _explained(self, asked: RunExplainer, group: Sequence[Source], inputs: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        fingerprint = self.run.get("fingerprint") or {}
        target, against = (fingerprint.get("target") or {}).get("target"), fingerprint.get("against")
        explainer = asked.explainer
        selection = explainer.select(categories="label", target=target, against=against)
        classes = [target.index if isinstance(target, ClassProbability) else int(target) for target in targets]
        with warnings.catch_warnings():
            # Of changed inputs and networks, by their numbers in a batch: nothing that a user could look at.
            warnings.simplefilter("ignore", CamtoolWarning)
            results = selection.explain(explainer.explains, explainer.network, inputs.to(self.classifier.device), classes)
        found = {}
        for source, name in zip(group, asked.names, strict=True):
            found[str(source)] = torch.stack([_stored(result.results[name]) for result in results])
        return found


def _stored(result: CAMResult) -> Tensor:
    """Return one sample's map (*spatial) as a store has it: made of the raw map, which smoothing over copies averages, not of theirs."""
    ((layer, raw),) = result.raw.items()
    place = result.placement.get(layer)
    if place is None:
        return result.maps[0, 0]
    values = {"placement": [*place.scale, *place.offset], "input_size": tuple(result.maps.shape[2:]), "status": map_status(raw[0, 0])}
    return scaled_map(MapRow(values, raw[0, 0].detach().cpu()))


def _by_layer(sources: Sequence[Source]) -> list[tuple[Source, ...]]:
    """Return sources by layer; those that need no layer are beside the first that do."""
    groups: dict[str, list[Source]] = {}
    free = [source for source in sources if source.layer in (ATTENTION, INPUT)]
    for source in sources:
        if source not in free:
            groups.setdefault(source.layer, []).append(source)
    together = list(groups.values()) or [[]]
    together[0] += free
    return [tuple(group) for group in together]


@dataclass(frozen=True)
class Batch:
    """Maps of some methods of the same samples, and what these methods would say of other inputs."""

    methods: Methods
    inputs: Tensor
    maps: Mapping[Source, Tensor]
    targets: Sequence[Any]
    batch_size: int

    def explain(self, inputs: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Return the methods' maps by source, in words."""
        return self.methods.maps(list(self.maps), inputs, targets)

    def explain_with(self, model: nn.Module, inputs: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Return the methods' maps of another network."""
        return self.methods.of_network(list(self.maps), model, inputs, targets)


def adcc(batch: Batch) -> dict[str, np.ndarray]:
    """Return `camtool.metrics.adcc` by source; each sees the inputs through its own maps, so that nothing is shared."""

    def of(source: Source, maps: Tensor) -> np.ndarray:
        def explain(inputs: Tensor, targets: Sequence[Any]) -> Tensor:
            return batch.methods.maps([source], inputs, targets)[str(source)]

        return metrics.adcc(batch.methods.classifier, batch.inputs, maps, explain, batch.targets, batch_size=batch.batch_size)

    return {str(source): of(source, maps) for source, maps in batch.maps.items()}


def max_sensitivity(batch: Batch, *, radius: float | int, samples: int, seed: int) -> dict[str, np.ndarray]:
    """Return `camtool.metrics.max_sensitivity` by source: all methods on the same changed inputs."""
    settings: dict[str, Any] = {"radius": radius, "samples": samples, "seed": seed, "batch_size": batch.batch_size}
    return dict(metrics.max_sensitivity(batch.methods.classifier, batch.inputs, batch.explain, batch.targets, **settings))


def randomisation(batch: Batch, *, cascading: bool, seed: int) -> dict[str, np.ndarray]:
    """Return by source the mean over layers of `camtool.metrics.randomisation`; a layer after which a map is flat does not count."""
    model = batch.methods.explainer.network.model
    by_layer = metrics.randomisation(model, batch.inputs, batch.explain_with, batch.targets, cascading=cascading, seed=seed)

    def mean(name: str) -> np.ndarray:
        return np.asarray(torch.from_numpy(np.stack([scores[name] for scores in by_layer.values()])).nanmean(dim=0))

    return {str(source): mean(str(source)) for source in batch.maps}


def emprt(batch: Batch, *, bins: int, seed: int) -> dict[str, np.ndarray]:
    """Return `camtool.metrics.emprt` by source."""
    model = batch.methods.explainer.network.model
    return dict(metrics.emprt(model, batch.inputs, batch.explain_with, batch.targets, bins=bins, seed=seed))
