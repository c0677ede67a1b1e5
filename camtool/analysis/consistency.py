"""Consistency: does the sum of a map go with the score that it explains? `corr`, `corr_logit` and AUROC, by class and in all."""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float

from camtool.analysis.correlation import Correlation, auroc, pearson
from camtool.analysis.normaliser import EPS, Normaliser
from camtool.analysis.sources import numbers, with_map
from camtool.errors import DataError
from camtool.store import Store
from camtool.store.reader import maps_of

_COLUMNS = ("target", "predicted", "probability", "logit")


@dataclass(frozen=True)
class Points:
    """Sums of maps at the size of their features beside the scores that they explain, one a row with a map; NaN for NULL."""

    target: Float[np.ndarray, " n"]
    predicted: Float[np.ndarray, " n"]
    probability: Float[np.ndarray, " n"]
    logit: Float[np.ndarray, " n"]
    rescaled: Float[np.ndarray, " n"]
    """Sum of the map on the data set's scale."""
    clipped: Float[np.ndarray, " n"]
    """Sum of that map clipped to [0, 1]."""
    own_scale: Float[np.ndarray, " n"]
    """Sum of the map on its own scale, each picture's min-max, as maps are usually drawn."""
    left_out: int = 0
    """Number of rows without a map."""

    def of(self, chosen: np.ndarray) -> "Points":
        """Return the points that a mask chooses."""
        return Points(**{name: getattr(self, name)[chosen] for name in _ARRAYS}, left_out=self.left_out)

    def __len__(self) -> int:
        return len(self.target)


_ARRAYS = tuple(item.name for item in fields(Points) if item.name != "left_out")


def points(store: Store, normaliser: Normaliser) -> Points:
    """Return the sums of all maps of a store that are of the normaliser's method and layer, a shard at a time.

    Where rescaling is linear the sum is that of the column `sum`, taken before the map was rounded, without reading the map.

    Raises:
        DataError: if the store has no map of this method and layer.
    """
    normaliser.check(store)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
    left_out = 0
    for table in normaliser.source.rows(store).tables():
        kept = with_map(table)
        left_out += len(kept) - int(kept.sum())
        chosen = table.take(np.flatnonzero(kept))
        for name in _COLUMNS:
            parts[name].append(numbers(chosen[name]))
        for name, values in _sums(chosen, normaliser).items():
            parts[name].append(values)
    return Points(**{name: np.concatenate([np.empty(0), *part]) for name, part in parts.items()}, left_out=left_out)


def _sums(table: Any, normaliser: Normaliser) -> dict[str, np.ndarray]:
    lowest, highest, raw = (numbers(table[name]) for name in ("min", "max", "sum"))
    cells = np.array([math.prod(shape) for shape in table["map_shape"].to_pylist()], dtype=np.float64)
    rescaled = np.empty(len(cells))
    clipped = np.empty(len(cells))
    for row, values in enumerate(maps_of(table)):
        assert values is not None  # a row with a smallest value has a map
        on_scale = normaliser(values[None].double())
        rescaled[row] = float(on_scale.sum())
        clipped[row] = float(on_scale.clamp(0, 1).sum())
    own = (raw - cells * lowest) / (highest - lowest + EPS)
    if normaliser.is_linear:
        s = normaliser.scale_ratio
        linear = (raw - cells * s * normaliser.vmin) / (s * (normaliser.vmax - normaliser.vmin))
        rescaled = own if normaliser.rescale == "none" else linear
    return {"rescaled": rescaled, "clipped": clipped, "own_scale": own}


@dataclass(frozen=True)
class Agreement:
    """How the sums of maps go with the scores, for the maps of one class, or of all."""

    target: int | None
    """Class that the maps explain; None: all maps."""
    count: int
    corr: Correlation
    """Of the rescaled map's sum with the probability."""
    corr_logit: Correlation
    """With the logit. For a network with global pooling and a linear head it is 1, by identity, of gradcam, hirescam and xgradcam."""
    clipped: Correlation
    """Of the clipped map's sum with the logit: what can be seen of the map, so no identity."""
    own_scale: Correlation
    """Of the sum of the map on its own scale with the logit."""
    auroc: float
    """Of the rescaled map's sum against "predicted as this class"; NaN where all samples, or none, are."""


def agreements(found: Points) -> list[Agreement]:
    """Return the agreement in all, then that of each explained class.

    Raises:
        DataError: if there is no map.
    """
    if not len(found):
        raise DataError("No map to compare with scores; expected a store with at least one.")
    classes = np.unique(found.target[np.isfinite(found.target)]).astype(int).tolist()
    return [_agreement(found, None), *(_agreement(found.of(found.target == k), k) for k in classes)]


def _agreement(found: Points, target: int | None) -> Agreement:
    known = np.isfinite(found.target)
    return Agreement(
        target,
        len(found),
        corr=pearson(found.rescaled, found.probability),
        corr_logit=pearson(found.rescaled, found.logit),
        clipped=pearson(found.clipped, found.logit),
        own_scale=pearson(found.own_scale, found.logit),
        auroc=auroc(found.rescaled[known], found.predicted[known] == found.target[known]),
    )
