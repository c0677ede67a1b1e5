"""Placements of a network's layers: even, given, or measured once and kept."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from camtool.errors import ConfigError, some
from camtool.instrumentation.cell_places import Layouts, measure_places
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_calls import LayerCalls
from camtool.instrumentation.layer_paths import find_layer
from camtool.instrumentation.placement_cache import read_placements, write_placements
from camtool.placement import GIVEN, MEASURED, Placement, Placements, PlacementSetting

_KEPT: WeakKeyDictionary[nn.Module, dict[str, Any]] = WeakKeyDictionary()
"""By network: its weights, and what was measured on them by layer and input size. Beside the network, never in it, and gone with it."""


def find_placements(
    setting: PlacementSetting,
    model: nn.Module,
    inputs: Inputs,
    targets: Mapping[str, nn.Module],
    others: Mapping[str, nn.Module],
    layouts: Layouts,
    calls: LayerCalls | None = None,
) -> Placements:
    """Return where the cells of layers lie on the input, by path; layers that are left out divide it evenly.

    Measured placements are kept beside the network while its weights are the same, and on disk for the weights of a checkpoint
    (`setting.digest`).

    Args:
        targets: the target layers.
        others: further layers whose maps are placed, as the biased ones of fullgrad. Numbers given for every target layer are not
            theirs: their strides differ.
        layouts: finds the layouts of the layers' outputs.
        calls: chooses the call of target layers that are called several times.

    Raises:
        LayerError, ConfigError: if numbers are given for a layer that does not exist or is not used, or for other axes than it has.
    """
    if setting.kind == GIVEN:
        return _given(setting, model, targets, others, rank=inputs.picture.ndim - 2)
    return _measured(setting.digest, model, inputs, {**targets, **others}, layouts, calls) if setting.kind == MEASURED else {}


def _given(
    setting: PlacementSetting, model: nn.Module, targets: Mapping[str, nn.Module], others: Mapping[str, nn.Module], rank: int
) -> Placements:
    layers, given = {**targets, **others}, dict[str, str]()
    for path in setting.paths:
        module = find_layer(model, path)[1]
        used = [name for name, layer in layers.items() if layer is module]  # paths are spelt in several ways
        if not used:
            raise ConfigError(
                f"Expected placements of layers that are used ({some(list(targets or others)) or 'none'}), got one of '{path}'; leave it "
                "out, or make it a target layer."
            )
        given |= dict.fromkeys(used, path)
    found = {name: setting.given(given.get(name, name), rank, is_target=name in targets) for name in layers}
    return {name: placement for name, placement in found.items() if placement is not None}


def _measured(
    digest: str | None, model: nn.Module, inputs: Inputs, layers: Mapping[str, nn.Module], layouts: Layouts, calls: LayerCalls | None
) -> Placements:
    size = tuple(inputs.picture.shape[2:])
    known = _known(model)
    names = _named(layers, calls, inputs)
    missing = {path: module for path, module in layers.items() if (names[path], size) not in known}
    if missing:
        key = None if digest is None else f"{digest}-{_structure(model)}"
        stored = {} if key is None else read_placements(key, size)
        found = {path: stored[names[path]] for path in missing if names[path] in stored}
        missing = {path: module for path, module in missing.items() if path not in found}
        if missing:
            found |= measure_places(model, inputs, missing, layouts, calls=calls)
            names = _named(layers, calls, inputs)
            if key is not None:
                write_placements(key, size, {**stored, **{names[path]: placement for path, placement in found.items()}})
        known.update({(names[path], size): placement for path, placement in found.items()})
    return {path: known[names[path], size] for path in layers}


def _named(layers: Iterable[str], calls: LayerCalls | None, inputs: Inputs) -> dict[str, str]:
    """Return by path the name under which a layer's placement is kept: the path, which call it is if not the first, and of which input."""
    recorded, of_input = calls.recorded if calls else {}, f", input {'.'.join(map(str, inputs.place))}" if inputs.place else ""
    return {path: f"{path}{f', call {recorded[path]}' if recorded.get(path) else ''}{of_input}" for path in layers}


def _known(model: nn.Module) -> dict[tuple[str, Sequence[int]], Placement]:
    """Return what was measured on the network's current weights, to be added to."""
    weights = [(tensor.data_ptr(), tensor._version) for tensor in (*model.parameters(), *model.buffers())]
    kept = _KEPT.setdefault(model, {})
    if kept.get("weights") != weights:
        kept.update(weights=weights, placements={})
    placements: dict[tuple[str, Sequence[int]], Placement] = kept["placements"]
    return placements


def _structure(model: nn.Module) -> str:
    """Return a digest of the network's modules and their settings: other strides or paddings look elsewhere with the same weights."""
    return hashlib.sha256(repr(model).encode()).hexdigest()[:16]
