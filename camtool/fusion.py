"""Fusion: what the maps of several target layers become together. With one layer every kind gives that layer's map."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError, closest
from camtool.functional import fuse, min_max
from camtool.registry import FUSIONS

LOWEST = 0.1  # the Winsor-CAM authors' code
"""Weight of the least important layer of those that have a positive importance, where the most important has 1."""


class Fusion(ABC):
    """How layers are fused. Settings are fields, so that they are config keys and are compared by value."""

    words: ClassVar[str]
    """Of where a map comes from: "at the mean of …"."""
    needs_importances: ClassVar[bool] = False

    @abstractmethod
    def fused(self, layers: Float[Tensor, "layers m *size"], importances: Float[Tensor, "layers m"] | None) -> Float[Tensor, "m *size"]:
        """Return one map for each of m, in [0, 1], from non-negative maps and, if they are needed, the layers' importances."""


@FUSIONS.register_module(name=["Mean", "mean"])
@dataclass(frozen=True)
class Mean(Fusion):
    """The mean of the layers' maps, each scaled to [0, 1] at its own resolution."""

    words = "the mean of"

    def fused(self, layers: Float[Tensor, "layers m *size"], importances: Float[Tensor, "layers m"] | None) -> Float[Tensor, "m *size"]:
        return fuse(list(layers))


@FUSIONS.register_module(name=["Product", "product"])
@dataclass(frozen=True)
class Product(Fusion):
    """The product of the layers' maps, each scaled to [0, 1]: what all layers agree on; RefineCAM, arXiv:2605.14641."""

    words = "the product of"

    def fused(self, layers: Float[Tensor, "layers m *size"], importances: Float[Tensor, "layers m"] | None) -> Float[Tensor, "m *size"]:
        return min_max(torch.stack([min_max(layer) for layer in layers]).prod(dim=0))


@FUSIONS.register_module(name=["Winsorized", "winsorized"])
@dataclass(frozen=True)
class Winsorized(Fusion):
    """The mean of the layers' maps weighted by importances cut off at a percentile; Winsor-CAM, Wall et al. 2025, arXiv:2507.10846.

    A layer's importance is the positive part of its mean gradient. Those above the percentile of the positive ones become it, and the
    positive ones are scaled to 0.1 to 1 (to 1 where they are equal); the others weigh nothing. So the authors' code has it; the text's
    equations were not checked. Differs from it: where no layer has a positive importance all weigh the same, maps are resized
    linearly, and the percentile is 80, not 99, which with a few layers cuts nothing.

    Args:
        percentile: 0 to 100; 0 makes all positive ones equal, 100 leaves them.

    Raises:
        MethodError: if the percentile is outside.
    """

    percentile: float = 80.0

    words = "the winsorized mean of"
    needs_importances = True

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 100:
            raise MethodError(f"A winsorized mean has a percentile from 0 to 100, got {self.percentile!r}.")

    def fused(self, layers: Float[Tensor, "layers m *size"], importances: Float[Tensor, "layers m"] | None) -> Float[Tensor, "m *size"]:
        assert importances is not None
        weights = self.weights(importances).to(layers.dtype)
        return min_max((layers * weights.view(*weights.shape, *[1] * (layers.ndim - 2))).sum(dim=0))

    def weights(self, importances: Float[Tensor, "layers m"]) -> Float[Tensor, "layers m"]:
        """Return the layers' weights in [0, 1] for each of m."""
        positive = importances > 0
        among = importances.masked_fill(~positive, torch.nan)
        cut = torch.minimum(among, among.nanquantile(self.percentile / 100, dim=0, keepdim=True))
        lowest = cut.nan_to_num(nan=torch.inf).amin(dim=0, keepdim=True)
        highest = cut.nan_to_num(nan=-torch.inf).amax(dim=0, keepdim=True)
        scaled = LOWEST + (1 - LOWEST) * (cut - lowest) / (highest - lowest)
        weights = torch.where(highest > lowest, scaled, torch.ones_like(cut))
        return torch.where(positive.any(dim=0), torch.where(positive, weights, 0), 1)


def build_fusion(spec: str | dict[str, Any] | Fusion) -> Fusion:
    """Return the fusion that a name or a config dict (`dict(type='Winsorized', percentile=80)`) describes.

    Raises:
        MethodError: if there is no such kind, or a keyword is not one of its settings.
    """
    if isinstance(spec, Fusion):
        return spec
    arguments: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    name = str(arguments.pop("type", None))
    known = {key.lower(): fusion for key, fusion in FUSIONS.module_dict.items()}
    if name.lower() not in known:
        raise MethodError(f"Unknown way to fuse layers '{name}'{closest(name, known)}; expected one of: {', '.join(known)}.")
    try:
        return known[name.lower()](**arguments)
    except TypeError as error:
        raise MethodError(f"Fusing by '{name}': {error}.") from error
