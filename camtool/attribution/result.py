"""Results of a CAM call, and the final maps from raw ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError, some
from camtool.functional import min_max, over_maximum, positive_part, to_float32
from camtool.fusion import Fusion, Mean, shown
from camtool.placement import Placement, Placements, placed
from camtool.targets import Output
from camtool.types import RawMap

OK = "ok"
NO_EVIDENCE = "no positive evidence for this target at this layer"
FLAT = "flat map: the same evidence at every position"

DISJOINT = "each layer has evidence, but nothing of it is left where they are fused"


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
    factors: Tensor | None = None
    """(n, k, *input), as `maps`, but scaled by the largest value alone: what a product with the map multiplies by."""

    def in_dtype(self, dtype: torch.dtype) -> "MethodMaps":
        """Return the same with `maps` and `layer_maps` in another precision."""
        return replace(self, maps=self.maps.to(dtype), layer_maps={path: maps.to(dtype) for path, maps in self.layer_maps.items()})


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
    """(n, *spatial of the input) or (n, k, *spatial), in [0, 1] per sample and target; float32 unless `CAM(…, dtype=…)` was given."""
    raw: dict[str, Tensor]
    """By layer path, "attention" or "input": (n, *spatial of the layer) or (n, k, *spatial), signed, un-normalised;
    float64 of a float64 network, else float32."""
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
    """(n, c, *spatial of the input) or (n, k, c, *spatial), signed, in the dtype of `raw`: attributions by input channel of
    guidedbackprop and guidedgradcam; None for other methods."""
    importances: dict[str, Tensor] = field(default_factory=dict)
    """By layer path: (n, c) or (n, k, c), the sum over positions of each channel's contribution to the raw map. Only where
    `CAM.importances` is set, and of methods whose map is a sum over channels."""
    by_channel: dict[str, Tensor] = field(default_factory=dict)
    """By layer path: (n, c, *spatial of the layer) or (n, k, c, …), signed, c of the input: of each channel of the input the part of
    the raw map by those of the layer's channels that depend on it alone, or on it and others that have the same part. Only where
    `CAM.by_channel` is set, of layers that keep the channels apart, and of methods whose map is a sum over channels."""
    calls: dict[str, int] = field(default_factory=dict)
    """By path of the target layers that a forward pass calls several times: the number of the call that is explained, from 0."""
    output: str = ""
    """Name of the output that targets and classes refer to, such as "race" or "heads.0"; "" if the network returns one tensor."""
    outputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape of one sample's part of each output that could be explained, by name; empty if the network returns one tensor, or boxes."""
    label: str = ""
    """The method's name with its settings that are not the defaults: "occlusion(patch=32)"."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The method's settings that are not the defaults; under "method" those of a wrapped one."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of `forward` (shared by all methods of a call) and `maps` (gradients and maps of all methods)."""

    def signed(self, layer: str = "") -> Tensor:
        """Return the raw maps at the input's size, as `maps`, but in [-1, 1]: over their largest absolute value, so that 0 stays 0.

        Args:
            layer: path of the only layer to show; "": of several layers the mean of their maps, scaled again.

        Example:
            >>> import torch
            >>> from torch import nn
            >>> from camtool import CAM
            >>> model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # the score: the channel's mean
            >>> CAM(model, "[0]")(torch.tensor([[[[-4.0, 1.0], [2.0, 0.0]]]])).signed()
            tensor([[[-1.0000,  0.2500],
                     [ 0.5000,  0.0000]]])
        """
        leading = 2 if isinstance(self.status[0], list) else 1  # with lists of targets
        size = self.maps.shape[leading:]
        raws = {layer: self.raw[layer]} if layer else self.raw
        large = [placed(_over_magnitude(raw.flatten(0, leading - 1)), size, self.placement.get(path)) for path, raw in raws.items()]
        return _over_magnitude(torch.stack(large).mean(dim=0)).view(self.maps.shape)

    def channel_maps(self, layer: str = "", *, signed: bool = False) -> Tensor | None:
        """Return a map for each channel of the input (n, c, *spatial) or (n, k, c, *spatial), all of a target on one scale, in [0, 1].

        They are the parts `by_channel`, positive where the map is, or the magnitudes of `attributions`; None where there are neither.

        Args:
            layer: path of the only layer to show; "": of several layers the mean of their maps, scaled again.
            signed: return them with their signs, in [-1, 1]: over their largest absolute value.

        Example:
            >>> import torch
            >>> from torch import nn
            >>> from camtool import CAM
            >>> model = nn.Sequential(nn.Conv1d(2, 2, 1, groups=2, bias=False), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 1))
            >>> _ = [parameter.data.fill_(1) for parameter in model.parameters()]
            >>> cam = CAM(model, "[0]")
            >>> cam.by_channel = True
            >>> cam(torch.tensor([[[0.0, 1.0], [4.0, 0.0]]])).channel_maps()
            tensor([[[0.0000, 0.2500],
                     [1.0000, 0.0000]]])
        """
        if not self.by_channel and self.attributions is None:
            return None
        leading = 2 if isinstance(self.status[0], list) else 1  # with lists of targets
        size = self.maps.shape[leading:]
        if self.by_channel:
            paths = [layer] if layer else list(self.by_channel)
            flat = {path: self.by_channel[path].flatten(0, leading - 1) for path in paths}
            values = torch.stack([_placed_parts(flat[path], size, self.placement.get(path), signed=signed) for path in paths]).mean(dim=0)
        else:
            assert self.attributions is not None
            values = self.attributions.flatten(0, leading - 1)
            values = values if signed else values.abs()
        return _over_magnitude(values).unflatten(0, self.maps.shape[:leading])


def checked_dtype(dtype: Any) -> torch.dtype:
    """Return the dtype of maps as it is; MethodError if it is not a floating-point one of torch."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise MethodError(f"Expected a floating-point dtype of maps, got {dtype!r}; try torch.float32 or torch.float64.")
    return dtype


def layers_source(layers: Sequence[str], fusion: Fusion) -> str:
    """Return the origin of a map of these target layers in words."""
    return f"at {fusion.words + ' ' if len(layers) > 1 else ''}{some(layers, most=8)}"


def attention_source(layers: Sequence[str]) -> str:
    """Return the origin of a map of these layers' attention in words."""
    return f"from the attention of {len(layers)} layer{'s' if len(layers) > 1 else ''}"


def map_statuses(explained: MethodMaps) -> list[list[str]]:
    """Return by sample and target OK, or a remark on the map in words."""
    has_any = (explained.maps.flatten(2).amax(dim=2) > 0).tolist()
    return [[OK if any_ else _remark_on(explained, sample, k) for k, any_ in enumerate(row)] for sample, row in enumerate(has_any)]


def _remark_on(explained: MethodMaps, sample: int, k: int) -> str:
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
    *,
    with_factors: bool = False,
) -> MethodMaps:
    """Return the method's final maps: ReLU, min-max, placed on the input per layer, then fused over layers; a flat raw map becomes zeros.

    Args:
        fusion: fusion of several layers; None: their mean.
        importances: importances (n, k) by layer, for fusions that need them.
        placements: where the cells of layers lie, by layer; evenly for the others.
        with_factors: whether to compute `factors` too.
    """
    shape = next(iter(raw.values())).shape[:2]
    raw = {path: to_float32(maps) for path, maps in raw.items()}
    positive = {path: positive_part(maps.flatten(0, 1)) for path, maps in raw.items()}  # (n k, *feature)
    where = placements or {}
    by_layer = {path: min_max(shown(maps, size, where.get(path))).unflatten(0, shape) for path, maps in positive.items()}
    stacked = torch.stack([importances[path].flatten() for path in raw]) if importances else None
    places = [where.get(path) for path in raw]
    if len(raw) == 1:
        fused = next(iter(by_layer.values())).clone()
    else:
        fused = (fusion or Mean()).fused(list(positive.values()), size, stacked, places).unflatten(0, shape)
    factors = None
    if with_factors:  # of one layer all fusions are that layer's map
        kept = [maps.flatten(0, 1).clamp(min=0) for maps in raw.values()]
        kind = fusion if fusion is not None and len(raw) > 1 else Mean()
        factors = kind.fused(kept, size, stacked, places, over_maximum).unflatten(0, shape)
    found = {path: where.get(path) or Placement.even(maps.shape[2:], size) for path, maps in raw.items()}
    return MethodMaps(fused, raw, by_layer, placement=found, factors=factors)


def _over_magnitude(maps: RawMap) -> RawMap:
    """Return each sample divided by its largest absolute value; zeros without any."""
    return maps / maps.abs().amax(dim=tuple(range(1, maps.ndim)), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def _placed_parts(
    parts: Float[Tensor, "n c *feature"], size: Sequence[int], placement: Placement | None, *, signed: bool
) -> Float[Tensor, "n c *size"]:
    """Return the parts of raw maps at the input's size, those of a sample on one scale; the positive ones unless signed."""
    scaled = _over_magnitude(parts if signed else parts.clamp(min=0))
    return placed(scaled.flatten(0, 1), size, placement).unflatten(0, parts.shape[:2])
