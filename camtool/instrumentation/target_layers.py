"""Probe: the layers of a network that can be target layers, measured on one input, and the default one.

Every layer is captured in one forward pass; one backward pass gives the share of each layer's positions with a gradient.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camtool.errors import LayerError, times
from camtool.instrumentation.activations import Capture, CapturedLayer
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.differentiation import gradients_of, mutations_allowed
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_calls import Call, LayerCalls
from camtool.instrumentation.layer_kinds import is_norm, is_projection
from camtool.instrumentation.layer_layouts import LayerLayouts
from camtool.instrumentation.layer_paths import enclosing, walk
from camtool.instrumentation.layer_rules import FULL, LAST_NORM
from camtool.instrumentation.module_state import evaluating, is_quantised, is_scripted
from camtool.instrumentation.responses import noise_like
from camtool.layouts import Layout, Reading
from camtool.targets import ClassScore, ClassTarget, EmbeddingSimilarity, Output, Target, resolve_targets, scores, scores_in

_DISCONNECTED = (
    "no layer's output is connected to the score, as where the model itself has torch.no_grad() or torch.inference_mode() around its layers"
)

_ENDS = 2  # of a sequence


@dataclass
class ProbedLayer:
    """Measurements of one layer on the probed input."""

    path: str
    module: nn.Module
    record: CapturedLayer
    grid: tuple[int, ...] | None = None
    """Positions by axis, if the output is a map over the input."""
    reading: Reading | None = None
    """Axes and extra tokens, if the output is a map over the input."""
    evidence: str = ""
    """Why it is read so: "measured", "only reading" or "given"."""
    gradient_share: float = 0.0
    """Share of positions, 0 to 1, at which the score has a gradient."""
    is_scores: bool = False
    """Whether one of its axes is that of the classes: a head that scores positions before pooling."""
    at_ends: bool = False
    """Whether the gradient is at the first and the last position alone, as where the head reads the last step of a recurrent layer."""

    @property
    def usable(self) -> bool:
        """Whether the layer can be a target layer of a gradient method."""
        return self.gradient_share > 0

    @property
    def problem(self) -> str:
        """Why it cannot be one, in a few words; "" if it can."""
        if self.record.calls == 0:
            return "not called"
        if self.grid is None:
            return "no spatial extent"
        return "" if self.usable else "no gradient"


@dataclass
class Probe:
    """All layers of a network in definition order, probed on one sample.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> probe = CAM(model).probe(torch.zeros(1, 3, 8, 8))
        >>> [(layer.path, layer.grid, layer.problem) for layer in probe.layers]
        [('[0]', (6, 6), ''), ('[1]', None, 'no spatial extent'), ('[2]', None, 'no spatial extent')]
        >>> probe.default_layer()
        ('[0]', 'the deepest layer with a gradient at its 6x6 positions')
    """

    layers: list[ProbedLayer]
    input_size: tuple[int, ...]
    failure: str = ""
    """Why no layer has a gradient; "" if one has."""

    def default_layer(self) -> tuple[str, str]:
        """Return (path, reason) of the deepest layer with spatial extent and gradient: the layer that the head pools, or the first
        norm of the last block if the head reads the class token only, or what a recurrent layer reads if the head takes its last step.

        Raises:
            LayerError: if no layer has both.
        """
        usable = self._usable()
        layers = [
            layer
            for layer in usable
            if not (is_projection(layer.module) or _is_resampling(layer) or layer.is_scores or layer.at_ends or layer.record.varies)
        ] or usable
        deepest = max(layers, key=lambda layer: layer.record.order)
        # A block, its stage and the backbone may all return the same values: the innermost is the clearest name.
        alike = [layer for layer in layers if layer.grid == deepest.grid]
        same = [layer for layer in alike if layer is deepest or _same_maps(layer, deepest, self.input_size)]
        chosen = min([layer for layer in same if not _is_rearrangement(layer)] or same, key=lambda layer: layer.record.order)
        return chosen.path, f"the deepest layer with a gradient at its {times(chosen.grid or ())} positions"

    def last_norm(self) -> tuple[str, str]:
        """Return (path, reason) of the deepest normalisation layer with spatial extent and gradient; LayerError if there is none."""
        norms = [layer for layer in self._usable() if is_norm(layer.module)]
        if not norms:
            raise LayerError(
                f"'{LAST_NORM}': this network has no normalisation layer with spatial extent and gradient; leave the option out."
            )
        deepest = max(norms, key=lambda layer: layer.record.order)
        return deepest.path, f"the last normalisation layer with a gradient at its {times(deepest.grid or ())} positions"

    def every_layer(self) -> tuple[list[str], str]:
        """Return (paths, reason) of all layers with spatial extent and gradient, in definition order; LayerError if there is none.

        A block and its last part are two of them, as in M3d-Cam (arXiv:2007.00453), though their maps are the same.
        """
        paths = [layer.path for layer in self._usable()]
        return paths, f"all {len(paths)} layers with spatial extent and gradient"

    def chosen_by(self, rule: str) -> tuple[list[str], str]:
        """Return (paths, reason) of the layers of a rule of `layer_rules`; LayerError if there is none."""
        if rule == FULL:
            return self.every_layer()
        path, reason = self.last_norm() if rule == LAST_NORM else self.default_layer()
        return [path], reason

    def _usable(self) -> list[ProbedLayer]:
        usable = [layer for layer in self.layers if layer.usable]
        if not usable:
            cause = self.failure or "the score has no gradient at any layer with spatial extent (a head with weights of zero has none)"
            raise LayerError(f"No target layer can be derived: {cause}. Load trained weights, or name a layer.")
        return usable


def probed(
    model: nn.Module,
    inputs: Inputs,
    targets: Any = None,
    layout: Layout | None = None,
    progress: Progress | None = None,
    call: Call = None,
) -> Probe:
    """Return every layer's measurements on the first sample, with gradients for its target (default: predicted class).

    Of a constant picture, noise is measured if the network and the targets take it: behind a ReLU nothing of zeros may have a gradient, and
    layers that differ return the same.

    Args:
        layout: the user's layout, if any.
        progress: called while layers are measured as `progress(description, done, total)`.
        call: of layers that are called several times, as of `LayerCalls`.
    """
    if _is_constant(inputs.picture):
        with suppress(Exception):  # a detector may find no such box in noise
            return _probed(model, inputs.with_picture(inputs.picture + noise_like(inputs.picture[:1])), targets, layout, progress, call)
    return _probed(model, inputs, targets, layout, progress, call)


def _probed(model: nn.Module, inputs: Inputs, targets: Any, layout: Layout | None, progress: Progress | None, call: Call) -> Probe:
    calls = LayerCalls(model, inputs, targets, call)
    layouts = LayerLayouts(model, inputs, layout, progress=progress, orders=(), warns=False, calls=calls)
    found = layouts.settled(partial(mutations_allowed, partial(_probe, model, inputs, layouts, targets)))
    # The order of tokens takes many passes; it is needed where nothing that is known is as deep.
    deepest = max((layer.record.order for layer in found.layers if layer.usable), default=-1)
    deeper = [layer.path for layer in found.layers if layer.path in layouts.unordered and layer.record.order > deepest]
    if not deeper:
        return found
    layouts = LayerLayouts(model, inputs, layout, progress=progress, orders=deeper, warns=False, calls=calls)
    return layouts.settled(partial(mutations_allowed, partial(_probe, model, inputs, layouts, targets)))


def _probe(model: nn.Module, inputs: Inputs, layouts: LayerLayouts, targets: Any = None) -> Probe:
    """Return every layer's measurements on the first sample, with gradients for its target (default: predicted class)."""
    # Hooks see no scripted part, so that nothing of it can be measured.
    modules = {path: module for path, module in walk(model) if not is_scripted(module)}
    batch = len(inputs.picture)
    fit = partial(layouts.fit, batch=batch, input_size=inputs.picture.shape[2:])
    with evaluating(model), Capture(modules, fit, differentiate=True, calls=layouts.calls.recorded) as capture:
        output = inputs.run(model)
        layouts.calls.require(capture.counts)
        layouts.require_measured()
        logits = scores_in(output, batch=batch)
        with torch.enable_grad():
            resolved, _ = resolve_targets(targets, logits)
            asked = [_plain(row[0], logits) for row in resolved]
            target = asked[0]
            score = scores(asked, logits)[0]
        # The channels of an embedding are not classes.
        axis = -1 if getattr(target, "classes_last", False) else 1
        classes = logits.shape[axis] if isinstance(logits, Tensor) and not isinstance(target, EmbeddingSimilarity) else None
        layers = [ProbedLayer(path, module, capture.records[path]) for path, module in modules.items()]
        fitted = [layer for layer in layers if layer.record.activations is not None and layer.record.activations.requires_grad]
        fitted = [layer for layer in fitted if not _is_split_into_heads(layer, capture.records, inputs)]
        failure = "" if score.requires_grad else _DISCONNECTED
        if is_quantised(model):
            failure = "the network is quantised, and its integer layers have no gradient, so that a layer must be named"
        if not fitted:
            failure = _nothing_fits(layers)
        tensors = [layer.record.activations for layer in fitted if layer.record.activations is not None]
        gradients: tuple[Tensor | None, ...] = (None,) * len(fitted)
        if score.requires_grad and tensors:
            gradients = gradients_of(score, tensors, allow_unused=True)
    input_size = tuple(inputs.picture.shape[2:])
    for layer, gradient in zip(fitted, gradients, strict=True):
        layout = layer.record.layout
        assert layout is not None, "a record with activations has a layout"
        activations = layer.record.activations
        assert activations is not None
        layer.grid = tuple(layout.to_maps(activations, input_size).shape[2:])
        layer.reading = layout.reading(activations.shape, input_size)
        layer.evidence = layouts.evidence.get(layer.path, "")
        if gradient is not None:
            maps = layout.to_maps(gradient, input_size)
            alive = (maps[0] != 0).any(dim=0)
            layer.gradient_share, layer.at_ends = alive.float().mean().item(), _is_at_ends(alive)
            layer.is_scores = classes is not None and _holds_classes(gradient, maps, classes)
    return Probe(layers, input_size, failure)


def _is_constant(picture: Tensor) -> bool:
    first = picture[0].flatten(1)
    return bool((first == first[:, :1]).all())


def _is_at_ends(alive: Tensor) -> bool:
    # One state stands for the whole sequence, as a class token does for all patches, and a map of it has no places. What a picture's
    # head takes the maximum of may lie at one position as well, but wherever the picture has it.
    ends = alive.flatten().nonzero().flatten().tolist()
    return alive.squeeze().ndim == 1 and alive.numel() > _ENDS and 0 < len(ends) <= _ENDS and set(ends) <= {0, alive.numel() - 1}


def _plain(target: Target, logits: Output) -> Target:
    # The usable layers are the same for every target of a class. A probability depends on every class, and would not distinguish a
    # layer of class scores from one of features.
    if isinstance(target, ClassTarget) and isinstance(logits, Tensor) and logits.ndim == 2 and target.index < logits.shape[1]:
        return ClassScore(target.index)
    return target


def _holds_classes(gradient: Tensor, maps: Tensor, classes: int) -> bool:
    # Of the tensor, not of its maps: (n, classes, positions) may be read as tokens before channels.
    axes = [axis for axis in range(1, gradient.ndim) if gradient.shape[axis] == classes]
    if any((gradient == 0).movedim(axis, 0).flatten(1).all(dim=1).any() for axis in axes):
        return True
    # Detectors have the classes of several boxes at each position, one after the other.
    boxes, rest = divmod(maps.shape[1], classes)
    alive = int((maps != 0).transpose(0, 1).flatten(1).any(dim=1).sum())
    return boxes > 1 and not rest and alive <= boxes


def _nothing_fits(layers: list[ProbedLayer]) -> str:
    called = [layer for layer in layers if layer.record.shape is not None]
    last = max(called, key=lambda layer: (len(layer.record.shape or ()) > 2, layer.record.order), default=None)
    example = "" if last is None else f" (the last to be called, '{last.path}': {last.record.mismatch.rstrip('.')})"
    return f"no layer's output is a map over the input's positions for the layout{example}"


def _is_split_into_heads(layer: ProbedLayer, records: Mapping[str, CapturedLayer], inputs: Inputs) -> bool:
    # Queries and keys are (n, heads, length, width); PiT's 50 tokens by 48 numbers could be a grid of 224x224, all but the border.
    shape = layer.record.shape or ()
    input_shapes = [records[outer].input_shape or () for outer in enclosing(layer.path)]
    # Of a signal, four axes are the features of a spectrogram or the like, measured to be such.
    return len(shape) == inputs.picture.ndim == 4 and any(len(tokens) == 3 and tokens[2] == shape[1] * shape[3] for tokens in input_shapes)


def _same_maps(first: ProbedLayer, second: ProbedLayer, input_size: tuple[int, ...]) -> bool:
    maps = []
    for layer in (first, second):
        assert layer.record.activations is not None
        assert layer.record.layout is not None
        maps.append(layer.record.layout.to_maps(layer.record.activations, input_size))
    return torch.equal(maps[0], maps[1])


def _is_rearrangement(layer: ProbedLayer) -> bool:
    # Activations, dropout, identity, merged windows: a leaf without parameters whose output has as many numbers as its input.
    leaf = next(layer.module.children(), None) is None and next(layer.module.parameters(), None) is None
    return leaf and math.prod(layer.record.input_shape or ()) == math.prod(layer.record.shape or ())


def _is_resampling(layer: ProbedLayer) -> bool:
    # VGG's pooling to 7x7 makes 49 cells of 4 where the input is small: a grid that the features do not have.
    return "AdaptiveAvgPool" in type(layer.module).__name__ or "AdaptiveMaxPool" in type(layer.module).__name__
