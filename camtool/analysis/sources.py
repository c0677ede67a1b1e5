"""Sources: of which method and layer the maps of a store are, and the numbers of their rows, a shard at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camtool.apis.outputs import as_file_name
from camtool.errors import DataError, closest, some, warn
from camtool.store import Store


@dataclass(frozen=True, order=True)
class Source:
    """What maps are of: a method and a layer."""

    method: str
    layer: str

    def __str__(self) -> str:
        return f"{self.method} at {self.layer}"

    @property
    def file_name(self) -> str:
        """Both as a part of a file's name: `gradcam_backbone.layer4`."""
        return f"{as_file_name(self.method)}_{as_file_name(self.layer)}"

    def rows(self, store: Store) -> Store:
        """Return the store of this method's and layer's rows, those of samples that have no layer, because they have no map, included."""
        return store.where(method=self.method, layer=[self.layer, None])


def sources(store: Store, methods: Sequence[str] = (), layers: Sequence[str] = ()) -> list[Source]:
    """Return the methods and layers that a store has maps of, in the order of their first row.

    Args:
        methods, layers: those to choose; (): all.

    Raises:
        DataError: if there is no shard yet, no map, or one that is asked for is missing.
    """
    found: dict[Source, None] = {}
    for table in store.tables(["method", "layer"]):
        pairs = table.group_by(["method", "layer"], use_threads=False).aggregate([])
        rows = zip(pairs["method"].to_pylist(), pairs["layer"].to_pylist(), strict=True)
        found |= dict.fromkeys(Source(method, layer) for method, layer in rows if layer is not None)
    if not found:
        raise DataError(f"The store '{store.folder}' has no map; expected the store of a run that explained at least one sample.")
    if not store.is_complete:
        warn(f"The run of '{store.folder}' has not ended; what is there is analysed. The same 'camtool run' goes on.")
    for kind, asked in (("method", methods), ("layer", layers)):
        known = list(dict.fromkeys(getattr(source, kind) for source in found))
        for name in asked:
            if name not in known:
                raise DataError(
                    f"The store '{store.folder}' has no maps of the {kind} '{name}'{closest(name, known)}; expected {some(known, 8)}."
                )
    chosen = [s for s in found if (not methods or s.method in methods) and (not layers or s.layer in layers)]
    if not chosen:
        raise DataError(
            f"The store '{store.folder}' has no maps of {some(methods)} at {some(layers)}; it has {some(list(map(str, found)), 8)}."
        )
    return chosen


def only_source(store: Store, method: str | None = None, layer: str | None = None) -> Source:
    """Return the only method and layer of a store, or of those that are chosen; DataError if there are several."""
    chosen = sources(store, [method] if method else [], [layer] if layer else [])
    if len(chosen) > 1:
        raise DataError(f"The store '{store.folder}' has maps of {some(list(map(str, chosen)))}; choose one method and one layer.")
    return chosen[0]


@dataclass(frozen=True)
class Columns:
    """Numbers of the rows that have a map, by column, and how many rows have none."""

    values: dict[str, np.ndarray]
    """Float64, NaN for NULL."""
    left_out: int

    def __getitem__(self, column: str) -> np.ndarray:
        return self.values[column]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


def columns(store: Store, names: Sequence[str]) -> Columns:
    """Return columns of numbers of a store's rows, without rows that have no map (whose smallest value is NULL or no finite number)."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    left_out = 0
    for table in store.tables(list(dict.fromkeys([*names, "min", "max"]))):
        kept = with_map(table)
        left_out += len(kept) - int(kept.sum())
        for name in names:
            parts[name].append(numbers(table[name])[kept])
    return Columns({name: np.concatenate([np.empty(0), *part]) for name, part in parts.items()}, left_out)


def with_map(table: Any) -> np.ndarray:
    """Return for each row of a shard's table whether it has a map of finite values."""
    return np.isfinite(numbers(table["min"])) & np.isfinite(numbers(table["max"]))


def numbers(column: Any) -> np.ndarray:
    """Return a column of numbers in float64, NaN for NULL."""
    return column.to_numpy().astype(np.float64)
