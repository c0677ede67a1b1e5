"""Results of a CAM call, and the final maps from raw ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from camtool.functional import min_max
from camtool.fusion import Fusion, Mean, shown
from camtool.placement import Placement, Placements
from camtool.targets import Output
from camtool.types import RawMap

OK = "ok"
NO_EVIDENCE = "no positive evidence for this target at this layer"
FLAT = "flat map: the same evidence at every position"

DISJOINT = "each layer has evidence, but nothing of it is left where they are fused"

FLAT_SHARE = 1e-5  # float32 rounds a constant map's sums over channels to less
"""Maps whose differences are below this share of the largest value are flat; scaled to [0, 1] rounding would look like a map."""


@dataclass
class MethodMaps:
    """One method's maps for k targets: `maps` (n, k, *input), and by layer path `raw` (n, k, *feature), `layer_maps` (n, k, *input)."""

    maps: Tensor
    raw: dict[str, Tensor]
    layer_maps: dict[str, Tensor]
    attributions: Tensor | None = None
    """(n, k, c, *input), signed, of methods with attributions by input channel."""
    placement: dict[str, Placement] = field(default_factory=dict)
    """By layer path where the cells of `raw` lie on the input."""


@dataclass(frozen=True)
class CAMResult:
    """Maps of one method for a batch. With lists of targets every per-sample item has a target axis k behind n.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # class scores: the channels' means
        >>> result = CAM(model, "[0]")(torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[8.0, 0.0], [0.0, 4.0]]]]))
        >>> result.predicted, result.targets, result.status, result.source
        ([1], [1], ['ok'], 'at [0]')
        >>> result.maps
        tensor([[[1.0000, 0.0000],
                 [0.0000, 0.5000]]])
    """

    method: str
    maps: Tensor
    """float32 (n, *spatial of the input) or (n, k, *spatial), in [0, 1] per sample and target."""
    raw: dict[str, Tensor]
    """By layer path, "attention" or "input": (n, *spatial of the layer) or (n, k, *spatial), signed, un-normalised."""
    layer_maps: dict[str, Tensor]
    """By layer path: the map of this layer alone, as `maps`."""
    status: list[Any]
    """Per sample (and target): "ok", or a remark on the map, such as "no positive evidence …"."""
    logits: Output
    """The network's scores (n, classes), or a detector's list of dicts."""
    predicted: list[int] | None
    """The class with the highest score of each sample; None if the output is not (n, classes)."""
    targets: list[Any]
    """Per sample (and target): the class index, or the callable."""
    layers: list[str]
    """Paths of the target layers, or of the layers whose attention was used."""
    source: str
    """Origin of the map in words: "at layer4[1]", "at the mean of …", "from the attention of 12 layers", "at the input"."""
    class_discriminative: bool
    layout_evidence: dict[str, str] = field(default_factory=dict)
    """By layer path, why its output is read as it is: "measured", "only reading" or "given"."""
    placement: dict[str, Placement] = field(default_factory=dict)
    """By layer path, "attention" or "input": where the cells of `raw` lie on the input, and where that comes from."""
    attributions: Tensor | None = None
    """float32 (n, c, *spatial of the input) or (n, k, c, *spatial), signed: attributions by input channel of guidedbackprop and
    guidedgradcam; None for other methods."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of `forward` (shared by all methods of a call) and `maps` (gradients and maps of all methods)."""


def layers_source(layers: Sequence[str], fusion: Fusion) -> str:
    """Return the origin of a map of these target layers in words."""
    return f"at {fusion.words + ' ' if len(layers) > 1 else ''}{', '.join(layers)}"


def attention_source(layers: Sequence[str]) -> str:
    """Return the origin of a map of these layers' attention in words."""
    return f"from the attention of {len(layers)} layer{'s' if len(layers) > 1 else ''}"


def map_status(explained: MethodMaps, sample: int, k: int) -> str:
    """Return OK, or a remark on one map in words."""
    if explained.maps[sample, k].amax() > 0:
        return OK
    blank = [path for path, maps in explained.layer_maps.items() if not maps[sample, k].amax() > 0]
    if not blank:
        return DISJOINT
    has_evidence = any(bool((explained.raw[path][sample, k] > 0).any()) for path in blank)
    return FLAT if has_evidence else NO_EVIDENCE


def finished(
    raw: dict[str, Tensor],
    size: Sequence[int],
    fusion: Fusion | None = None,
    importances: Mapping[str, Tensor] | None = None,
    placements: Placements | None = None,
) -> MethodMaps:
    """Return the method's final maps: ReLU, min-max, placed on the input per layer, then fused over layers; a flat raw map becomes zeros.

    Args:
        fusion: fusion of several layers; None: their mean.
        importances: importances (n, k) by layer, for fusions that need them.
        placements: where the cells of layers lie, by layer; evenly for the others.
    """
    shape = next(iter(raw.values())).shape[:2]
    positive = {path: _positive(maps.flatten(0, 1)) for path, maps in raw.items()}  # (n k, *feature)
    where = placements or {}
    by_layer = {path: min_max(shown(maps, size, where.get(path))).unflatten(0, shape).float() for path, maps in positive.items()}
    if len(raw) == 1:
        fused = next(iter(by_layer.values())).clone()
    else:
        stacked = torch.stack([importances[path].flatten() for path in raw]) if importances else None
        places = [where.get(path) for path in raw]
        fused = (fusion or Mean()).fused(list(positive.values()), size, stacked, places).unflatten(0, shape).float()
    found = {path: where.get(path) or Placement.even(maps.shape[2:], size) for path, maps in raw.items()}
    return MethodMaps(fused, {path: maps.float() for path, maps in raw.items()}, by_layer, placement=found)


def _positive(maps: RawMap) -> RawMap:
    """Return the positive part of raw maps; zeros of a flat one."""
    positive = maps.clamp(min=0)
    axes = tuple(range(1, positive.ndim))
    highest, lowest = positive.amax(dim=axes, keepdim=True), positive.amin(dim=axes, keepdim=True)
    return torch.where(highest - lowest > FLAT_SHARE * highest, positive, 0)
