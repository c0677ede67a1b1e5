"""inject: a copy of a network that makes, keeps, writes and scores M3d-Cam's maps whenever it is called."""

import copy
import io
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camtool.compat.medcam.attention_maps import at_size, attention_maps, methods_of
from camtool.compat.medcam.evaluation import Metric, Scores, check_metric, compute_score
from camtool.compat.medcam.label_score import Label, LabelScore
from camtool.compat.medcam.layer_names import get_layers, name_of
from camtool.compat.medcam.map_files import affine_of, picture_of, write_map
from camtool.errors import DataError, LayerError, MethodError, OutputError, warn
from camtool.instrumentation.layer_paths import find_layers
from camtool.instrumentation.layer_rules import rule_of
from camtool.instrumentation.module_state import evaluating
from camtool.io.atomic import write_atomically

DEFAULT = "default"
_INJECTED = "medcam_dict"  # M3d-Cam's attribute, by which programs ask whether a model is injected


@dataclass
class Settings:
    """Arguments of `inject`, as given."""

    output_dir: Path | None
    backend: str
    layer: str | Sequence[str]
    label: Label
    data_shape: str | Sequence[int]
    save_maps: bool
    save_pickle: bool
    save_scores: bool
    evaluate: bool
    metric: Metric
    threshold: str | float | int
    return_score: bool
    replace: bool
    return_attention: bool
    cudnn: bool
    enabled: bool


class Injection:
    """What an injected copy of a network does: its methods, and what it has found so far."""

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.model = model
        self.model_forward = model.forward
        self.settings = settings
        self.maps: dict[str, Tensor] = {}
        """Maps (n, 1, *feature) of the last call by torch's names of layers."""
        self.scores = Scores()
        self.kept: list[np.ndarray] = []
        self.counter = 0
        self._layers: list[str] = []

    def forward(self, batch: Tensor, label: Label = None, mask: Any = None, raw_input: Any = None) -> Any:
        """Return the network's output, or what `inject` was told to return.

        Args:
            batch: (n, c, *spatial).
            label: instead of that of `inject`.
            mask: (n, 1, *spatial) or (n, *spatial) of 0 and 1, which the maps are evaluated against.
            raw_input: pictures under maps of two axes; volumes (camtool.io.volumes.Volume) whose geometry the written maps have.

        Raises:
            CamtoolError: if a map cannot be made, or what is to be evaluated or returned is not given or not defined.
        """
        settings = self.settings
        with ExitStack() as stack:
            if not settings.cudnn:
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            if not self.model.training:  # its parts may train: they are those of the network that was injected
                stack.enter_context(evaluating(self.model))
            output = self.model_forward(batch)
            if not settings.enabled:
                return output
            self.maps = self._found(batch, settings.label if label is None else label)
        scores = self._scored(mask) if settings.evaluate else None
        self._write(batch, raw_input)
        self.counter += 1
        returned = output
        if settings.replace or settings.return_attention:
            size = tuple(batch.shape[2:]) if settings.data_shape == DEFAULT else settings.data_shape
            attention = at_size(self._only(), [int(side) for side in size]).to(batch.device)
            returned = attention if settings.replace else (output, attention)
        return (returned, scores) if settings.return_score else returned

    def get_layers(self, reverse: bool = False) -> list[str]:
        """Return the names of all layers, each behind its parts; the last one first if `reverse`."""
        return get_layers(self.model, reverse)

    def get_attention_map(self) -> Any:
        """Return the last call's map (n, 1, *feature) as an array, None before any; of several layers a dict of these."""
        arrays = {name: maps.cpu().numpy() for name, maps in self.maps.items()}
        return next(iter(arrays.values()), None) if len(arrays) <= 1 else arrays

    def save_attention_map(self, attention_map: Any, raw_input: Any = None) -> None:
        """Write one map (*spatial) into the output folder, as it is scaled to [0, 1]; OutputError without a folder."""
        values = torch.as_tensor(attention_map).detach().cpu().float()
        spread = values.max() - values.min()
        scaled = (values - values.min()) / spread if spread > 0 else torch.zeros_like(values)
        folder = self._folder() / next(iter(self.maps), "")
        write_map(folder / f"attention_map_{self.counter}", scaled.numpy(), affine_of(values[None, None], None, 0), raw_input)
        self.counter += 1

    def replace_output(self, replace: bool) -> None:
        """Choose whether calls return the map in place of the output."""
        self.settings.replace = replace

    def dump(self) -> None:
        """Write what was collected: `scores.csv`, `mean_scores.csv`, `attention_maps.npz`."""
        if self.settings.save_scores:
            self.scores.write(self._folder())
        if self.settings.save_pickle:
            content = io.BytesIO()
            np.savez(content, *self.kept)
            write_atomically(self._folder() / "attention_maps.npz", content.getvalue())

    def test_run(self, batch: Tensor, internal: bool = False) -> list[str]:
        """Return the names of the layers that maps are made of for a batch, and write them into the output folder, if there is one."""
        with evaluating(self.model):
            names = list(self._found(batch, self.settings.label))
        if not internal and self.settings.output_dir is not None:
            text = "".join(f"{name}\n" for name in names)
            write_atomically(self.settings.output_dir / "registered_layers.txt", text.encode())
        return names

    def enable_medcam(self) -> None:
        """Make maps in calls from now on."""
        self.settings.enabled = True

    def disable_medcam(self) -> None:
        """Make no maps: calls are those of the network alone. Between calls it has no hook either way."""
        self.settings.enabled = False

    def _found(self, batch: Tensor, label: Label) -> dict[str, Tensor]:
        settings, plain = self.settings, self._plain()
        if self._layers:
            try:
                maps = attention_maps(plain, batch, settings.backend, self._layers, label)
            except LayerError:  # of another input or label some of the layers that a rule found have no gradient
                maps = attention_maps(plain, batch, settings.backend, settings.layer, label)
        else:
            maps = attention_maps(plain, batch, settings.backend, settings.layer, label)
        self._layers = [path for path in maps if path]
        return {name_of(plain, path) if path else "": found for path, found in maps.items()}

    def _plain(self) -> nn.Module:
        """Return the network without the injection: the same parts and attributes, and its own forward."""
        plain = copy.copy(self.model)
        for name in NAMES:
            del vars(plain)[name]
        if getattr(self.model_forward, "__self__", None) is not self.model:  # a forward of the instance's own
            plain.forward = self.model_forward
        return plain

    def _only(self) -> Tensor:
        if len(self.maps) != 1:
            raise MethodError(f"Expected one layer whose map is returned, got {len(self.maps)}; try layer='auto' or the name of one.")
        return next(iter(self.maps.values()))

    def _scored(self, mask: Any) -> dict[str, list[float]]:
        if mask is None:
            raise DataError("Expected a mask of each sample in a call with evaluate=True, got none; try model(batch, mask=mask).")
        by_layer = {}
        for name, maps in self.maps.items():
            if len(mask) != len(maps):
                raise DataError(f"Expected a mask of each of {len(maps)} samples, got {len(mask)}.")
            arguments = (self.settings.metric, self.settings.threshold)
            by_layer[name] = [compute_score(one[0], truth, *arguments) for one, truth in zip(maps.cpu(), mask, strict=True)]
            self.scores.rows += [(score, name, f"{self.counter}_{sample}") for sample, score in enumerate(by_layer[name])]
        return by_layer

    def _write(self, batch: Tensor, raw_input: Any) -> None:
        for name, maps in self.maps.items() if self.settings.save_maps else ():
            for sample, one in enumerate(at_size(maps, batch.shape[2:]).cpu().numpy()):
                stem = self._folder() / name / f"attention_map_{self.counter}_{sample}_0"
                write_map(stem, one[0], affine_of(batch, raw_input, sample), picture_of(raw_input, sample))
        if self.settings.save_pickle:
            self.kept += [one[0] for maps in self.maps.values() for one in maps.cpu().numpy()]

    def _folder(self) -> Path:
        if self.settings.output_dir is None:
            raise OutputError("Expected a folder for files; give inject(model, output_dir=…).")
        return self.settings.output_dir


METHODS = (
    "forward",
    "model_forward",
    "get_layers",
    "get_attention_map",
    "save_attention_map",
    "replace_output",
    "dump",
    "test_run",
    "enable_medcam",
    "disable_medcam",
)
NAMES = (*METHODS, _INJECTED)
"""Attributes of an injected copy that the network has not."""


def inject(  # noqa: PLR0913, PLR0917 - the call as it is in users' code
    model: nn.Module,
    output_dir: str | Path | None = None,
    backend: str = "gcam",
    layer: str | Sequence[str] = "auto",
    label: Label = None,
    data_shape: str | Sequence[int] = DEFAULT,
    save_maps: bool = False,
    save_pickle: bool = False,
    save_scores: bool = False,
    evaluate: bool = False,
    metric: Metric = "wioa",
    threshold: str | float | int = "otsu",
    retain_graph: bool = False,
    return_score: bool = False,
    replace: bool = False,
    return_attention: bool = False,
    cudnn: bool = True,
    enabled: bool = True,
) -> nn.Module:
    """Return a copy of the model, of its class and with its parts, that makes maps whenever it is called; the model stays as it is.

    The copy returns what the model returns in eval mode, and has the methods `get_layers`, `get_attention_map`, `save_attention_map`,
    `replace_output`, `dump`, `test_run`, `enable_medcam`, `disable_medcam` and `model_forward`, the model's own forward. See the folder's
    README for what differs from M3d-Cam 0.1.22.

    Args:
        output_dir: folder of all files.
        backend: "gcam" (Grad-CAM), "gcampp" (Grad-CAM++), "gbp" (guided backpropagation, without layers), "ggcam" (guided Grad-CAM).
        layer: torch's name of a layer, or several; "auto": the one that camtool derives; "full": every layer that can be one.
        label: what is explained; see `camtool.compat.medcam.label_score.LabelScore`.
        data_shape: size of returned maps; "default": the input's.
        save_maps: write every map into a folder by layer, PNG of two axes, else NIfTI with the geometry of the input if it has one.
        save_pickle: write all maps into `attention_maps.npz` by `dump()`; no pickle, which whoever reads it would run.
        save_scores: write tables of the scores by `dump()`.
        evaluate: score maps against the masks that calls get.
        metric: "wioa", "ioa", "iou", or a function of map and mask.
        threshold: "otsu", or a number from 0 to 1.
        retain_graph: changes nothing: the output's graph is the caller's own.
        return_score: return (output, scores by layer).
        replace: return the map (n, 1, *data_shape) in place of the output.
        return_attention: return (output, map).
        cudnn: whether cuDNN may be used in calls of the copy.
        enabled: whether calls make maps from the start.

    Raises:
        CamtoolError: if a setting is none of those that there are, a layer does not exist, or files are wanted without a folder.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.compat import medcam
        >>> model = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        >>> injected = medcam.inject(model, layer="1", label=1)
        >>> scores = injected(torch.rand(1, 1, 4, 6, 6))
        >>> scores.shape, injected.get_attention_map().shape
        (torch.Size([1, 2]), (1, 1, 4, 6, 6))
    """
    if hasattr(model, _INJECTED):
        return model
    methods_of(backend)
    LabelScore(label)
    check_metric(metric)
    folder = None if output_dir is None else Path(output_dir)
    if folder is None and (save_maps or save_scores or save_pickle):
        raise OutputError("Expected output_dir, the folder of files, for save_maps, save_scores and save_pickle.")
    if (save_scores or return_score) and not evaluate:
        raise DataError("Expected evaluate=True for save_scores and return_score: without it there is no score.")
    named = [layer] if isinstance(layer, str) else list(layer)
    if not rule_of(model, named):
        find_layers(model, named)
    if save_pickle:
        warn("No pickle is written, which could run anything where it is read: dump() writes the maps to attention_maps.npz.")
    settings = Settings(
        folder, backend, layer, label, data_shape, save_maps, save_pickle, save_scores, evaluate, metric, threshold, return_score, replace,
        return_attention, cudnn, enabled,
    )  # fmt: skip
    injected = copy.copy(model)
    injected.training = False  # of the copy alone
    injection = Injection(injected, settings)
    for name in METHODS:
        vars(injected)[name] = getattr(injection, name)
    vars(injected)[_INJECTED] = injection
    return injected
