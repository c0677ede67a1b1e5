"""What the engine returns."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from camtool.smoothing import MethodMaps

OK = "ok"
NO_EVIDENCE = "no positive evidence for this target at this layer"
FLAT = "flat map: the same evidence at every position"


@dataclass(frozen=True)
class CAMResult:
    """What one method says of a batch. With lists of targets every per-sample item has a target axis k behind n."""

    method: str
    maps: Tensor
    """float32 (n, *spatial of the input) or (n, k, *spatial), in [0, 1] per sample and target."""
    raw: dict[str, Tensor]
    """By layer path: (n, *spatial of the layer) or (n, k, *spatial), signed, un-normalised."""
    layer_maps: dict[str, Tensor]
    """By layer path: what that layer alone gives, as `maps`."""
    status: list[Any]
    """Per sample (and target): "ok", or what is to be known about this map."""
    logits: Tensor
    """The network's scores (n, classes)."""
    predicted: list[int] | None
    """Per sample the class with the highest score; None where the output is not (n, classes)."""
    targets: list[Any]
    """Per sample (and target): the class index, or the callable given."""
    layers: list[str]
    class_discriminative: bool
    seconds: dict[str, float] = field(default_factory=dict)
    """`forward` (shared by all methods of a call) and `maps` (gradients and maps of all methods)."""


def map_status(explained: MethodMaps, sample: int, k: int) -> str:
    """Return OK, or in words what is to be known about one map."""
    if explained.maps[sample, k].amax() > 0:
        return OK
    has_evidence = any(bool((raw[sample, k] > 0).any()) for raw in explained.raw.values())
    return FLAT if has_evidence else NO_EVIDENCE
