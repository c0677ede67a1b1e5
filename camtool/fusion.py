"""Fusion of the maps of several target layers into one. With one layer every kind returns that layer's map."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import min_max, over_maximum
from camtool.placement import Placement, averaged, placed
from camtool.registry import FUSIONS, build
from camtool.types import RawMap

LayerMaps: TypeAlias = Sequence[Float[Tensor, "m ..."]]
"""Non-negative maps (m, *feature) by layer, at the layer's own resolution."""

Scale: TypeAlias = Callable[[RawMap], RawMap]

LayerPlacements: TypeAlias = Sequence[Placement | None] | None
"""Where each layer's cells lie on the input; None: evenly."""

POOLINGS: dict[int, Callable[..., Tensor]] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}

LOWEST = 0.1  # the Winsor-CAM authors' code
"""Weight of the least important of the layers with a positive importance; the most important has 1."""


class Fusion(ABC):
    """Base class of fusions. Settings are fields, so that they are config keys and are compared by value."""

    name: ClassVar[str]
    """The value of `--fuse`."""
    words: ClassVar[str]
    """Words before the layers' names in `CAMResult.source`: "at the mean of …"."""
    needs_importances: ClassVar[bool] = False

    @abstractmethod
    def fused(
        self,
        layers: LayerMaps,
        size: Sequence[int],
        importances: Float[Tensor, "layers m"] | None = None,
        placements: LayerPlacements = None,
        scale: Scale = min_max,
    ) -> Float[Tensor, "m *size"]:
        """Return m fused maps in [0, 1].

        Args:
            size: spatial size of the returned maps.
            importances: importance of each layer for each map; needed if `needs_importances`.
            placements: where each layer's cells lie on the input; None: evenly.
            scale: scales maps to [0, 1].
        """


def shown(maps: RawMap, size: Sequence[int], placement: Placement | None = None, scale: Scale = min_max) -> Float[Tensor, "m *size"]:
    """Return a layer's maps scaled to [0, 1] at the layer's resolution, then placed on the input."""
    return placed(scale(maps), size, placement).clamp(min=0)


def _all_shown(layers: LayerMaps, size: Sequence[int], placements: LayerPlacements, scale: Scale) -> list[Float[Tensor, "m *size"]]:
    return [shown(layer, size, placement, scale) for layer, placement in zip(layers, placements or [None] * len(layers), strict=True)]


@FUSIONS.register_module()
@dataclass(frozen=True)
class Mean(Fusion):
    """The mean of the layers' maps, each scaled to [0, 1] at its own resolution.

    Example:
        >>> import torch
        >>> from camtool.fusion import Mean
        >>> early, late = torch.tensor([[[0.0, 2.0], [2.0, 2.0]]]), torch.tensor([[[0.0, 0.0], [3.0, 3.0]]])
        >>> Mean().fused([early, late], (2, 2))
        tensor([[[0.0000, 0.5000],
                 [1.0000, 1.0000]]])
    """

    name = "mean"
    words = "the mean of"

    def fused(
        self,
        layers: LayerMaps,
        size: Sequence[int],
        importances: Float[Tensor, "layers m"] | None = None,
        placements: LayerPlacements = None,
        scale: Scale = min_max,
    ) -> Float[Tensor, "m *size"]:
        return scale(torch.stack(_all_shown(layers, size, placements, scale)).mean(dim=0))


@FUSIONS.register_module()
@dataclass(frozen=True)
class Product(Fusion):
    """The product of the layers' maps, each scaled to [0, 1]: high where all layers are; RefineCAM, arXiv:2605.14641.

    Example:
        >>> import torch
        >>> from camtool.fusion import Product
        >>> early, late = torch.tensor([[[0.0, 2.0], [2.0, 2.0]]]), torch.tensor([[[0.0, 0.0], [3.0, 3.0]]])
        >>> Product().fused([early, late], (2, 2))
        tensor([[[0., 0.],
                 [1., 1.]]])
    """

    name = "product"
    words = "the product of"

    def fused(
        self,
        layers: LayerMaps,
        size: Sequence[int],
        importances: Float[Tensor, "layers m"] | None = None,
        placements: LayerPlacements = None,
        scale: Scale = min_max,
    ) -> Float[Tensor, "m *size"]:
        return scale(torch.stack([scale(layer) for layer in _all_shown(layers, size, placements, scale)]).prod(dim=0))


@FUSIONS.register_module(name=["Maximum", "Max"])
@dataclass(frozen=True)
class Maximum(Fusion):
    """The maximum of the layers' maps at each position; LayerCAM, Jiang et al. 2021, doi:10.1109/TIP.2021.3089943.

    Each map is scaled to [0, 1], or to tanh(gamma M / max M): LayerCAM's scaling of shallow layers, whose few large values would leave
    the rest dark. As in torchcam; the paper's equations were not checked.

    Args:
        gamma: factor inside of tanh, above 0 (2 in torchcam); None: no tanh.

    Raises:
        MethodError: if gamma is not above 0.

    Example:
        >>> import torch
        >>> from camtool.fusion import Maximum
        >>> early, late = torch.tensor([[[0.0, 1.0], [2.0, 1.0]]]), torch.tensor([[[0.0, 0.0], [3.0, 3.0]]])
        >>> Maximum().fused([early, late], (2, 2))
        tensor([[[0.0000, 0.5000],
                 [1.0000, 1.0000]]])
    """

    gamma: float | None = None

    name = "max"
    words = "the maximum of"

    def __post_init__(self) -> None:
        if self.gamma is not None and not self.gamma > 0:
            raise MethodError(f"Expected a gamma above 0 of the maximum's tanh, or None, got {self.gamma!r}; try 2.0.")

    def fused(
        self,
        layers: LayerMaps,
        size: Sequence[int],
        importances: Float[Tensor, "layers m"] | None = None,
        placements: LayerPlacements = None,
        scale: Scale = min_max,
    ) -> Float[Tensor, "m *size"]:
        gamma = self.gamma
        squeezed = scale if gamma is None else lambda maps: torch.tanh(gamma * over_maximum(maps))
        return scale(torch.stack(_all_shown(layers, size, placements, squeezed)).amax(dim=0))


@FUSIONS.register_module()
@dataclass(frozen=True)
class Refined(Fusion):
    """The coarsest layer's map, refined by finer ones in turn; Poly-CAM, Englebert et al. 2022, arXiv:2204.13359.

    Each finer map is divided by its own copy at the coarser resolution; the quotient, which locates the evidence within a coarse cell,
    multiplies the coarser map. As in the authors' code; the text's equations were not checked. Layers are taken from the coarsest to
    the finest, those of one size from the last to the first. Differs from that code: a map is made coarser by the mean over a cell,
    where theirs samples four positions of the cell and may divide by zero beside them; the final scaling is the min-max of all maps
    here, not between percentiles.

    Example:
        >>> import torch
        >>> from camtool.fusion import Refined
        >>> fine, coarse = torch.tensor([[0.0, 2.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0]])
        >>> Refined().fused([fine, coarse], (4,)).shape
        torch.Size([1, 4])
    """

    name = "refined"
    words = "the refinement of"

    def fused(
        self,
        layers: LayerMaps,
        size: Sequence[int],
        importances: Float[Tensor, "layers m"] | None = None,
        placements: LayerPlacements = None,
        scale: Scale = min_max,
    ) -> Float[Tensor, "m *size"]:
        # Only ratios within a layer count; means and products of very large or small values would leave the range of the numbers.
        pairs = zip(map(over_maximum, layers), placements or [None] * len(layers), strict=True)
        *finer, (refined, place) = sorted(pairs, key=lambda pair: pair[0][0].numel(), reverse=True)
        for layer, finer_place in reversed(finer):
            between = _between(refined.shape[1:], place, layer.shape[1:], finer_place, size)
            within = placed(_coarser(layer, refined.shape[1:], between), layer.shape[1:], between)
            refined = layer / within.clamp(min=torch.finfo(layer.dtype).tiny) * placed(refined, layer.shape[1:], between)
            place = finer_place
        return scale(shown(refined, size, place, scale))


def _between(
    coarse: Sequence[int], coarse_place: Placement | None, fine: Sequence[int], fine_place: Placement | None, size: Sequence[int]
) -> Placement | None:
    """Return where the cells of a coarse size lie in units of those of a fine one; None: evenly."""
    if coarse_place is None and fine_place is None:
        return None
    return (coarse_place or Placement.even(coarse, size)).within(fine_place or Placement.even(fine, size))


def _coarser(layer: RawMap, cells: Sequence[int], between: Placement | None) -> Float[Tensor, "n *cells"]:
    """Return the means of a layer's maps over coarser cells."""
    if between is None or between.divides_evenly(cells, layer.shape[1:]):
        return POOLINGS[layer.ndim - 1](layer.unsqueeze(1), tuple(cells)).squeeze(1)
    return averaged(layer, cells, between)


@FUSIONS.register_module()
@dataclass(frozen=True)
class Winsorized(Fusion):
    """The mean of the layers' maps weighted by importances cut off at a percentile; Winsor-CAM, Wall et al. 2025, arXiv:2507.10846.

    A layer's importance is the positive part of its mean gradient. Importances above the percentile of the positive ones are set to it,
    and the positive ones are scaled to 0.1 to 1 (to 1 where they are equal); the others have weight 0. As in the authors' code; the
    text's equations were not checked. Differs from it: where no layer has a positive importance all weights are equal, maps are
    resized linearly, and the percentile is 80, not 99, which changes nothing for a few layers.

    Args:
        percentile: 0 to 100; 0 makes all positive importances equal, 100 changes none.

    Raises:
        MethodError: if the percentile is outside of 0 to 100.

    Example:
        >>> import torch
        >>> from camtool.fusion import Winsorized
        >>> Winsorized(percentile=0.0).weights(torch.tensor([[4.0], [1.0], [0.0]]))
        tensor([[1.],
                [1.],
                [0.]])
    """

    percentile: float = 80.0

    name = "winsorized"
    words = "the winsorized mean of"
    needs_importances = True

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 100:
            raise MethodError(f"Expected a percentile from 0 to 100 of the winsorized mean, got {self.percentile!r}.")

    def fused(
        self,
        layers: LayerMaps,
        size: Sequence[int],
        importances: Float[Tensor, "layers m"] | None = None,
        placements: LayerPlacements = None,
        scale: Scale = min_max,
    ) -> Float[Tensor, "m *size"]:
        assert importances is not None
        large = torch.stack(_all_shown(layers, size, placements, scale))
        weights = self.weights(importances).to(large.dtype)
        return scale((large * weights.view(*weights.shape, *[1] * len(size))).sum(dim=0))

    def weights(self, importances: Float[Tensor, "layers m"]) -> Float[Tensor, "layers m"]:
        """Return the layers' weights in [0, 1] for each of the m maps."""
        positive = importances > 0
        among = importances.masked_fill(~positive, torch.nan)
        cut = torch.minimum(among, among.nanquantile(self.percentile / 100, dim=0, keepdim=True))
        lowest = cut.nan_to_num(nan=torch.inf).amin(dim=0, keepdim=True)
        highest = cut.nan_to_num(nan=-torch.inf).amax(dim=0, keepdim=True)
        scaled = LOWEST + (1 - LOWEST) * (cut - lowest) / (highest - lowest)
        weights = torch.where(highest > lowest, scaled, torch.ones_like(cut))
        return torch.where(positive.any(dim=0), torch.where(positive, weights, 0), 1)


def build_fusion(spec: str | Mapping[str, Any] | Fusion) -> Fusion:
    """Return the fusion that a name or a config dict (`dict(type='Winsorized', percentile=80)`) describes.

    Raises:
        MethodError: if there is no such kind, or a keyword is not one of its settings.

    Example:
        >>> from camtool.fusion import build_fusion
        >>> build_fusion("product"), build_fusion({"type": "Winsorized", "percentile": 90.0})
        (Product(), Winsorized(percentile=90.0))
    """
    return build(FUSIONS, spec, base=Fusion, error=MethodError)
