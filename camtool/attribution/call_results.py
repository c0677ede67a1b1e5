"""Results of one CAM call, method by method, from what was computed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from camtool.attribution.computation import Computation
from camtool.attribution.input_gradients import input_source
from camtool.attribution.result import OK, CAMResult, MethodMaps, attention_source, layers_source, map_statuses
from camtool.errors import CamtoolError, MethodError, warn
from camtool.fusion import Fusion
from camtool.instrumentation.layer_layouts import LayerLayouts
from camtool.methods import AttentionMethod, BaseMethod, InputMethod, label_of, reads_layers, settings_of
from camtool.targets import Target


def call_result(
    name: str,
    method: BaseMethod,
    explained: MethodMaps,
    computation: Computation,
    layouts: LayerLayouts,
    layers: Sequence[str],
    fusion: Fusion,
) -> CAMResult:
    """Return the result of a method of a call; warn of each map without evidence.

    Args:
        explained: its maps.
        layers: paths of the target layers of the call.
        fusion: fusion of their maps, for methods without their own.
    """
    status, targets = told_statuses(name, explained, computation.targets)
    shaped = partial(as_nested, nested=computation.nested)
    logits = computation.logits
    calls = {path: layouts.calls.recorded[path] for path in layouts.calls.counts if path in layers} if reads_layers(method) else {}
    return CAMResult(
        method=name,
        maps=shaped(explained.maps),
        raw={path: shaped(raw) for path, raw in explained.raw.items()},
        layer_maps={path: shaped(maps) for path, maps in explained.layer_maps.items()},
        status=shaped(status),
        logits=logits,
        predicted=logits.argmax(dim=1).tolist() if isinstance(logits, Tensor) and logits.ndim == 2 else None,
        targets=shaped(targets),
        layers=_layers_of(method, computation, layers),
        source=_source(method, computation, [_with_call(path, layouts) for path in layers], fusion),
        layout_evidence={path: layouts.evidence[path] for path in explained.raw if path in layouts.evidence},
        class_discriminative=method.class_discriminative,
        placement=dict(explained.placement),
        attributions=None if explained.attributions is None else shaped(explained.attributions),
        label=label_of(method),
        settings=settings_of(method),
        seconds=dict(computation.seconds),
        importances={path: shaped(values) for path, values in computation.channels.importances.get(name, {}).items()},
        by_channel={path: shaped(parts) for path, parts in computation.channels.by_channel.get(name, {}).items()},
        calls=calls,
        output=computation.output.name,
        outputs=computation.output.shapes,
    )


def no_method(refusals: Mapping[str, CamtoolError]) -> MethodError:
    """Return the error of a call of which no method is left; its status is that of the sample, if that is why one is not."""
    status = next((error.status for error in refusals.values() if error.status != CamtoolError.status), None)
    return MethodError("No method fits this network. " + " ".join(f"{name}: {error}" for name, error in refusals.items()), status=status)


def told_statuses(name: str, explained: MethodMaps, targets: Sequence[Sequence[Target]]) -> tuple[list[list[str]], list[list[Any]]]:
    """Return by sample and target (status of its map, the class's index or else the target); warn of each map without evidence."""
    status = map_statuses(explained)
    named = [[getattr(target, "index", target) for target in row] for row in targets]
    for sample, row in enumerate(status):
        for target, text in zip(named[sample], row, strict=True):
            if text != OK:
                warn(f"{name}, sample {sample}, target {target}: {text}.", sample=sample)
    return status, named


def as_nested(item: Any, *, nested: bool) -> Any:
    """Return what there is for each sample and target (n, k, …); without nested targets that of the only one (n, …)."""
    if nested:
        return item
    return item[:, 0] if isinstance(item, Tensor) else [row[0] for row in item]


def _layers_of(method: BaseMethod, computation: Computation, layers: Sequence[str]) -> list[str]:
    if isinstance(method, AttentionMethod):
        return method.layers_read(computation.attention_layers)
    return list(layers) if reads_layers(method) else []


def _source(method: BaseMethod, computation: Computation, layers: Sequence[str], fusion: Fusion) -> str:
    if isinstance(method, AttentionMethod):
        return attention_source(method.layers_read(computation.attention_layers))
    source = layers_source(layers, getattr(method, "fusion", None) or fusion)
    return input_source(method.base, source) if isinstance(method, InputMethod) else source


def _with_call(path: str, layouts: LayerLayouts) -> str:
    """Return a layer's path, and which call of it is explained if there are several."""
    count = layouts.calls.counts.get(path)
    return path if count is None else f"{path} (call {layouts.calls.recorded[path]} of 0 to {count - 1})"
