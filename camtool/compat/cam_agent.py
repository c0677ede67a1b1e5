"""CAMAgent: the call of the analysis framework of arXiv:2407.01142, on camtool's runs, normalisers and statistics."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import camtool.store
from camtool.analysis.chosen_channels import ChosenChannels
from camtool.analysis.grouping import cluster_classes
from camtool.analysis.importance import Importance, importance
from camtool.analysis.normaliser import Normaliser
from camtool.analysis.randomisation import likeness, randomised
from camtool.analysis.selection import masks_of, selection_masks
from camtool.analysis.sources import Source
from camtool.apis import Explainer
from camtool.apis.class_selection import PREDICTED
from camtool.attribution.cam import CAM
from camtool.compat.cam_maps import LayerMaps
from camtool.compat.cam_reports import Samples, write_evaluation, write_importance, write_maps
from camtool.errors import DataError, MethodError, closest
from camtool.instrumentation.module_state import evaluating
from camtool.methods import BaseMethod, build_method
from camtool.methods._base import sums_channels
from camtool.models.given import given_network
from camtool.runs import run
from camtool.runs.data import TorchData
from camtool.runs.fingerprint import weights_digest
from camtool.runs.rows import Remarks
from camtool.targets import RawOutput

METHODS = {"fullcam": "hirescam", "gradcampp": "gradcam++"}
"""Names of methods that are others here."""
TYPES = {"1D": 1, "2D": 2, "3D": 3}
EVALUATIONS = ("corr", "corr_logit", "basic", "logit")


@dataclass(frozen=True)
class _Fitted:
    """What the range pass found, for one state of model and data."""

    key: tuple[Any, ...]
    normalisers: dict[str, Normaliser]
    """By layer."""
    importances: dict[str, Importance]
    reasons: dict[str, str]
    """By layer without importances why there are none."""


class CAMAgent:
    """Maps of a model on the scale of a data set, their importances, and how they agree with the scores.

    Args:
        model: in eval mode during every call.
        target_layer: modules or paths, one or several; of several the rescaled maps are averaged at the input's size.
        dataset: map-style; a sample is (input (c, *spatial), label), with or without the label.
        groups: contiguous blocks of channels, each with a map of its own (grouped convolutions).
        ram: explain the model's raw outputs instead of classes (regression activation mapping).
        cam_method: a method of camtool; "fullcam" is hirescam, "gradcampp" gradcam++.
        name_str: files are written into `output/<name_str>/`.
        batch_size: of every pass.
        select_category: class, or several, or None, the predicted one; of regression the outputs.
        rescale: "norm", "tanh" or "none"; see `camtool.analysis.normaliser.Normaliser`.
        remove_minus_flag: keep positive values only.
        scale_ratio: factor of the range.
        feature_selection: which channels make the maps; see `camtool.analysis.selection.selection_masks`.
        feature_selection_ratio: of the channels.
        cam_type: "1D", "2D" or "3D"; inputs of another number of axes are refused.
        feature_index: channels of the selection "index".

    The range pass runs over the data set at first need, and again when the model's weights or the data set differ; files of an earlier
    run under the same name are never read.

    Raises:
        CamtoolError: if a setting is none of those that there are, or the range is degenerate.

    Example:
        >>> import os, tempfile, torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> dataset = [(torch.rand(1, 8, 8), number % 2) for number in range(6)]
        >>> agent = CAMAgent(model, [model[1]], dataset, name_str="example", batch_size=3, select_category=1)
        >>> agent.indiv_return(torch.stack([dataset[0][0], dataset[1][0]])).shape  # samples, groups, categories, height, width
        torch.Size([2, 1, 1, 8, 8])
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the call as it is in users' code
        self,
        model: nn.Module,
        target_layer: str | nn.Module | Sequence[str | nn.Module],
        dataset: Any,
        groups: int = 1,
        ram: bool = False,
        cam_method: str = "fullcam",
        name_str: str = "",
        batch_size: int = 1,
        select_category: int | Sequence[int] | None = 0,
        rescale: str = "norm",
        remove_minus_flag: bool = False,
        scale_ratio: float | int = 1.0,
        feature_selection: str = "all",
        feature_selection_ratio: float | int = 1.0,
        cam_type: str = "2D",
        feature_index: Sequence[int] = (),
    ) -> None:
        if cam_type not in TYPES:
            raise MethodError(f"No cam_type '{cam_type}'{closest(cam_type, TYPES)}; expected {', '.join(TYPES)}.")
        if groups < 1:
            raise MethodError(f"Expected at least one group of channels, got {groups}.")
        self.model, self.dataset = model, dataset
        self._method = build_method(METHODS.get(cam_method.casefold(), cam_method))
        self._network = given_network(model)
        self._layers = CAM(model, target_layer, self._method).target_layers
        self._groups, self._ram, self._batch_size = groups, ram, batch_size
        self._categories = _as_list(select_category)
        self._rescaling: dict[str, Any] = {"rescale": rescale, "remove_minus": remove_minus_flag, "scale_ratio": float(scale_ratio)}
        self._selection, self._ratio, self._index = feature_selection, float(feature_selection_ratio), tuple(feature_index)
        self._rank = TYPES[cam_type]
        self.folder = Path("output") / name_str
        self._fitted: _Fitted | None = None
        self._remarks = Remarks()

    def indiv_return(self, x: Float[Tensor, "n c *spatial"], category: int | Sequence[int] | None = None) -> Tensor:
        """Return the rescaled maps (n, groups, categories, *spatial) of inputs, at their size; not clipped.

        Args:
            category: a class or several; None: `select_category`.

        Raises:
            CamtoolError: if the inputs have another number of axes than `cam_type` says, or a map cannot be made.
        """
        return self._maps(x, category).at_size(tuple(x.shape[2:]))

    def randomization(
        self, x: Float[Tensor, "n c *spatial"], fraction: float, category: int | Sequence[int] | None = None, seed: int = 0
    ) -> Tensor:
        """Return how alike maps (n, groups, categories) are to those after the last `fraction` of the modules is initialised anew.

        It is their rank correlation: near 1 the maps do not depend on what was learnt there; see `camtool.analysis.randomisation`.
        """
        maps, others = self._maps(x, category), self._maps(x, category, randomised(self.model, fraction, seed=seed))
        size = tuple(x.shape[2:])
        return likeness(maps.at_size(size), others.at_size(size), axes=self._rank)

    def creator_main(
        self,
        dataset: Any = None,
        categories: Sequence[int] | int | None = None,
        eval_act: str | None = "corr",
        cam_save: bool = True,
        cluster: Sequence[int] | None = None,
        use_origin: bool = False,
        max_iter: int | None = None,
    ) -> dict[str, Any]:
        """Write the maps, importances and agreement of a data set into `output/<name_str>/{cam,im,figs}`; return the agreement.

        Args:
            dataset: another one than the agent's; ranges and importances stay those of the agent's.
            categories: classes to explain; None: `select_category`.
            eval_act: "corr", "corr_logit" (sums of maps against probabilities, logits), "basic", "logit" (the network on inputs that are
                multiplied by clipped maps), or None.
            cam_save: whether maps are written, an array each, and a picture where they have two axes.
            cluster: numbers of consecutive classes whose maps are summed.
            use_origin: draw pictures of maps over the inputs.
            max_iter: only so many batches.

        Raises:
            DataError: if there is no such evaluation, or `cluster` does not add up.
        """
        if eval_act is not None and eval_act not in EVALUATIONS:
            raise DataError(f"No evaluation '{eval_act}'{closest(eval_act, EVALUATIONS)}; expected {', '.join(EVALUATIONS)}, or None.")
        fitted = self._fit()
        for layer, normaliser in fitted.normalisers.items():
            write_importance(self.folder / "im", Source(self._method.name, layer), fitted.importances.get(layer), normaliser)
        evaluated: list[Samples] = []
        count = 0
        for number, (inputs, labels) in enumerate(self._batches(self.dataset if dataset is None else dataset)):
            if max_iter is not None and number >= max_iter:
                break
            samples = self._samples(inputs, labels, categories)
            evaluated.append(samples)
            if cam_save:
                write_maps(self.folder / "cam", count, _clustered(samples.maps, cluster), inputs if use_origin else None)
            count += len(inputs)
        if eval_act is None or not evaluated:
            return {}
        return write_evaluation(self.folder / "figs", eval_act, evaluated, self.model)

    def _samples(self, inputs: Tensor, labels: list[int | None], categories: Any) -> Samples:
        layers = self._maps(inputs, categories)
        on_scale = [maps.double().flatten(3) for maps in layers.maps]
        sums = torch.stack([maps.sum(dim=3) for maps in on_scale]).mean(dim=0)
        clipped = torch.stack([maps.clamp(0, 1).sum(dim=3) for maps in on_scale]).mean(dim=0)
        large = layers.at_size(tuple(inputs.shape[2:]))
        return Samples(inputs, large, sums, clipped, layers.targets, layers.logits, labels, is_regression=self._ram)

    def _maps(self, x: Tensor, category: Any, model: nn.Module | None = None) -> "LayerMaps":
        """Return the rescaled maps of inputs at each layer, of the model or one of the same modules, for the model's classes."""
        if x.ndim != self._rank + 2:
            raise DataError(f"Expected inputs (n, c, …) with {self._rank} spatial axes, as cam_type says, got {tuple(x.shape)}.")
        fitted = self._fit()
        targets = self._targets(x, self._categories if category is None else _as_list(category))
        maps, places, logits = [], [], torch.empty(0)
        for layer in self._layers:
            masks = self._masks(fitted, layer, targets)
            # Channels that differ by class are those of one class a call.
            columns = [targets[:, k : k + 1] for k in range(targets.shape[1])] if masks is not None else [targets]
            parts = []
            for number, column in enumerate(columns):
                methods = self._methods(None if masks is None else masks[number])
                asked = [[RawOutput(index) if self._ram else index for index in row] for row in column.tolist()]
                with self._remarks.filtered():  # of single samples it is told that nothing is positive, but these maps are signed
                    found = CAM(model or self.model, layer, methods)(x, asked)
                parts.append(torch.stack([found[method.name].raw[layer] for method in methods], dim=1))  # (n, groups, k, *feature)
                first = found[methods[0].name]
            raw = torch.cat(parts, dim=2)
            maps.append(fitted.normalisers[layer](raw.flatten(0, 2)).unflatten(0, raw.shape[:3]))
            places.append(first.placement[layer])
            logits = first.logits
        return LayerMaps(maps, places, targets, logits)

    def _methods(self, mask: Tensor | None) -> list[BaseMethod]:
        if mask is None and self._groups == 1:
            return [self._method]
        blocks = [(group, self._groups) for group in range(self._groups)]
        return [ChosenChannels(self._method, f"group {group}", mask=mask, block=(group, of)) for group, of in blocks]

    def _masks(self, fitted: _Fitted, layer: str, targets: Tensor) -> list[Tensor] | None:
        """Return by category which channels of each sample are kept (n, c); None if all are."""
        if self._selection == "all":
            return None
        if layer not in fitted.importances:
            why = fitted.reasons.get(layer, f"the map of '{self._method.name}' is no sum over channels")
            raise DataError(f"The selection '{self._selection}' needs the importance of channels: {why}")
        masks = selection_masks(fitted.importances[layer], self._selection, ratio=self._ratio, index=self._index)
        return [torch.from_numpy(masks_of(masks, column)) for column in targets.T.tolist()]

    def _targets(self, x: Tensor, asked: Sequence[int]) -> Tensor:
        """Return the classes (n, k) that are explained."""
        if asked:
            return torch.tensor([list(asked)] * len(x))
        with evaluating(self.model), torch.no_grad():
            return self.model(x).argmax(dim=1, keepdim=True).cpu()

    def _batches(self, dataset: Any) -> Iterator[tuple[Tensor, list[int | None]]]:
        """Yield inputs (n, c, *spatial) on the model's device, and their labels."""
        data = TorchData(dataset)
        device = next(self.model.parameters()).device
        for start in range(0, len(data), self._batch_size):
            items = [data.read(number) for number in range(start, min(start + self._batch_size, len(data)))]
            inputs = [torch.as_tensor(np.asarray(item.content)) if not isinstance(item.content, Tensor) else item.content for item in items]
            yield torch.stack(inputs).float().to(device), [item.label if isinstance(item.label, int) else None for item in items]

    def _fit(self) -> _Fitted:
        """Return ranges and importances of the agent's data set, from a pass over it if model or data set are others than before."""
        key = (weights_digest(self.model), id(self.dataset), len(self.dataset))
        if self._fitted is None or self._fitted.key != key:
            with tempfile.TemporaryDirectory() as folder:
                self._fitted = self._fitted_on(Path(folder), key)
        return self._fitted

    def _fitted_on(self, folder: Path, key: tuple[Any, ...]) -> _Fitted:
        explainer = Explainer(self._network, method=self._method, target_layers=self._layers)
        asked: list[int | str] = list(self._categories)
        if not self._ram:
            asked += [PREDICTED] if asked else []  # the importance is that of a sample's own class
        weighs = sums_channels(self._method)
        target = "raw" if self._ram else None
        run(explainer, self.dataset, folder / "store", categories=asked, target=target, batch_size=self._batch_size, importances=weighs)
        store = camtool.store.open(folder / "store")
        chosen = store.where(target=[*self._categories, None]) if self._categories else store
        normalisers = {layer: Normaliser.fit(chosen, method=self._method.name, layer=layer, **self._rescaling) for layer in self._layers}
        importances, reasons = {}, {}
        for layer in self._layers if weighs else ():
            try:
                importances[layer] = importance(store, Source(self._method.name, layer))
            except DataError as error:
                reasons[layer] = str(error)
        return _Fitted(key, normalisers, importances, reasons)


def _clustered(maps: Tensor, sizes: Sequence[int] | None) -> Tensor:
    """Return maps (n, groups, k, *spatial) with the classes of each cluster summed; None: as they are."""
    if sizes is None:
        return maps
    return torch.stack([cluster_classes(of_group, sizes) for of_group in maps.unbind(dim=1)], dim=1)


def _as_list(category: int | Sequence[int] | None) -> list[int]:
    if category is None:
        return []
    return [int(category)] if isinstance(category, (int, np.integer)) else [int(index) for index in category]
