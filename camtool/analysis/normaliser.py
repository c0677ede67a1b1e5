"""Normaliser: put the maps of a data set on one scale, so that they can be compared between samples."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.analysis.ranges import RangeTable, range_table
from camtool.analysis.sources import Source, columns, only_source, sources
from camtool.errors import DataError, closest
from camtool.io.atomic import write_atomically
from camtool.store import MapRow, Store

RESCALES = ("norm", "tanh", "none")
FORMAT = "camtool normaliser 1"
UPPER, LOWER = 90.0, 50.0
EPS = 1e-7  # the seed's, of the scale of a single map
_HIGH, _LOW = math.atanh(0.95), math.atanh(0.05)  # where tanh puts the ends of the range


@dataclass(frozen=True)
class Normaliser:
    """Maps of one method and layer on the scale of a data set: `vmin` to 0 and `vmax` to 1, not clipped.

    vmax is the 90th percentile of the maps' maxima, vmin the median of their minima (Li et al., arXiv:2407.01142). `norm` is linear,
    (x - s vmin) / (s vmax - s vmin); `tanh` puts vmin at 0.05 and vmax at 0.95; `none` is each map's own min-max. With `remove_minus`
    negative values are zeros first, and the vmin of `norm` is 0. Maps are rescaled first, then resized.

    Raises:
        DataError: if there is no such rescaling, or the range is degenerate: vmax <= vmin.

    Example:
        >>> import torch
        >>> normaliser = Normaliser(Source("gradcam", "[0]"), vmax=3.0, vmin=-1.0)
        >>> normaliser(torch.tensor([[[-1.0, 1.0], [3.0, 5.0]]]))
        tensor([[[0.0000, 0.5000],
                 [1.0000, 1.5000]]])
    """

    source: Source
    vmax: float
    vmin: float
    rescale: str = "norm"
    remove_minus: bool = False
    scale_ratio: float = 1.0
    upper: float = UPPER
    """Percentile of the maxima that vmax is."""
    lower: float = LOWER
    """Percentile of the minima that vmin is."""
    table: RangeTable | None = None
    """Of the data set that it was fitted on."""
    fitted_on: Mapping[str, Any] | None = None
    """The store: its folder, and the fingerprint of its run, with the rule of the explained class and the data set."""

    def __post_init__(self) -> None:
        if self.rescale not in RESCALES:
            raise DataError(f"No rescaling '{self.rescale}'{closest(self.rescale, RESCALES)}; expected {', '.join(RESCALES)}.")
        for name in ("vmax", "vmin"):
            if not math.isfinite(getattr(self, name)):
                raise DataError(f"Expected a finite {name} of {self.source}, got {getattr(self, name)}.")
        if not (math.isfinite(self.scale_ratio) and self.scale_ratio > 0):
            raise DataError(f"Expected a scale ratio above 0, got {self.scale_ratio}.")
        if self.rescale != "none" and not self.vmax > self.lowest:
            raise DataError(
                f"The range of {self.source} is degenerate: vmax {self.vmax:g} <= vmin {self.lowest:g}; expected maps that differ. "
                "Try other percentiles, or rescale='none', which scales each map by itself."
            )

    @property
    def lowest(self) -> float:
        """Value that `norm` puts at 0, and `tanh` at 0.05, for a scale ratio of 1."""
        return 0.0 if self.remove_minus and self.rescale == "norm" else self.vmin

    @property
    def is_linear(self) -> bool:
        """Whether a rescaled map's sum follows from the sum, the minimum and the maximum of the raw one."""
        return self.rescale != "tanh" and not self.remove_minus

    @classmethod
    def fit(
        cls,
        store: Store,
        *,
        method: str | None = None,
        layer: str | None = None,
        rescale: str = "norm",
        remove_minus: bool = False,
        scale_ratio: float = 1.0,
        percentiles: tuple[float, float] = (UPPER, LOWER),
    ) -> "Normaliser":
        """Return the normaliser of a store's maps; rows without a map are counted and left out. Reads no map.

        Args:
            method, layer: of the maps; None: the store's only one.
            percentiles: of the maxima (vmax) and of the minima (vmin).

        Raises:
            DataError: if the store has several methods or layers and none is chosen, or no map; if the range is degenerate.
        """
        upper, lower = map(float, percentiles)
        if not (0 <= upper <= 100 and 0 <= lower <= 100):
            raise DataError(f"Expected percentiles between 0 and 100, got {upper:g} and {lower:g}.")
        source = only_source(store, method, layer)
        found = columns(source.rows(store), ["max", "min"])
        if not len(found):
            raise DataError(f"The store '{store.folder}' has no map of {source} that is finite; expected at least one.")
        table = range_table(found["max"], found["min"], further=(upper, lower), left_out=found.left_out)
        fitted_on = {"store": store.folder.name, "samples": store.samples, "fingerprint": dict(store.run.get("fingerprint") or {})}
        return cls(
            source, table.maxima[upper], table.minima[lower], rescale, remove_minus, float(scale_ratio), upper, lower, table, fitted_on
        )

    def __call__(self, maps: Float[Tensor, "n *spatial"]) -> Float[Tensor, "n *spatial"]:
        """Return raw maps rescaled, not clipped; at the size of the features, before they are resized."""
        values = maps.clamp(min=0) if self.remove_minus else maps
        if self.rescale == "none":
            axes = tuple(range(1, values.ndim))
            lowest = values.amin(dim=axes, keepdim=True)
            return (values - lowest) / (values.amax(dim=axes, keepdim=True) - lowest + EPS)
        if self.rescale == "tanh":
            factor = (_HIGH - _LOW) / (self.vmax - self.vmin)
            return torch.tanh(factor * values + (_LOW * self.vmax - _HIGH * self.vmin) / (self.vmax - self.vmin))
        return (values - self.scale_ratio * self.lowest) / (self.scale_ratio * (self.vmax - self.lowest))

    def check(self, store: Store) -> None:
        """Raise DataError if a store has no maps of this normaliser's method and layer."""
        found = sources(store)
        if self.source not in found:
            raise DataError(
                f"The normaliser is of {self.source}, the store '{store.folder}' has {', '.join(map(str, found[:4]))}; fit one on the same "
                "method and layer, 'camtool analyze ranges'."
            )

    def rows(self, store: Store) -> Iterator[tuple[MapRow, Tensor]]:
        """Yield the rows of a store with this method and layer that have a map, each with its rescaled map (*feature).

        Raises:
            DataError: if the store has no map of this method and layer.
        """
        self.check(store)
        for row in self.source.rows(store):
            if row.map is not None:
                yield row, self(row.map[None])[0]

    def save(self, path: str | Path) -> Path:
        """Write the normaliser as JSON, whole or not at all; return the path. OutputError if it cannot be written."""
        path = Path(path).expanduser()
        described = {
            "format": FORMAT,
            "method": self.source.method,
            "layer": self.source.layer,
            **{name: getattr(self, name) for name in _NUMBERS},
            "ranges": None if self.table is None else _described(self.table),
            "fitted_on": self.fitted_on,
        }
        content = json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, f"{content}\n".encode("utf-8", "surrogateescape"))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Normaliser":
        """Return the normaliser of a file; DataError if it is missing, no such file, or damaged."""
        path = Path(path).expanduser()
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"The normaliser '{path}' cannot be read: {error}. Expected a file of 'camtool analyze ranges'.") from error
        try:
            if described["format"] != FORMAT:
                raise ValueError(f"format {described['format']!r}")
            table = described["ranges"] and _read(described["ranges"])
            source = Source(str(described["method"]), str(described["layer"]))
            checked = {name: _checked(name, described[name], kind) for name, kind in _NUMBERS.items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"'{path}' is no normaliser ({error}); expected a file of 'camtool analyze ranges'.") from error
        return cls(source, **checked, table=table, fitted_on=described.get("fitted_on"))


_NUMBERS: dict[str, type] = {
    "vmax": float,
    "vmin": float,
    "rescale": str,
    "remove_minus": bool,
    "scale_ratio": float,
    "upper": float,
    "lower": float,
}


def _checked(name: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r}")
    return value


def _described(table: RangeTable) -> dict[str, Any]:
    return {
        "count": table.count,
        "left_out": table.left_out,
        "maxima": {f"{percentile:g}": value for percentile, value in table.maxima.items()},
        "minima": {f"{percentile:g}": value for percentile, value in table.minima.items()},
    }


def _read(described: Mapping[str, Any]) -> RangeTable:
    maxima, minima = ({float(name): float(value) for name, value in described[key].items()} for key in ("maxima", "minima"))
    return RangeTable(maxima, minima, int(described["count"]), int(described["left_out"]))
