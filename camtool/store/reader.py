"""Store: the rows of a data set's maps, read lazily, shard by shard, each checked before it is believed."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from camtool.errors import DataError, closest
from camtool.placement import Placement, placed
from camtool.store.layout import check_nothing_deleted, manifest, read_run, read_shard, shard_numbers

if TYPE_CHECKING:
    import pyarrow as pa

FILTERS = ("id", "path", "label", "predicted", "target", "method", "layer", "status")
"""Columns that `Store.where` takes."""


@dataclass(frozen=True)
class MapRow:
    """A row of a store, with its map as a tensor."""

    values: Mapping[str, Any]
    """By column, without the map; NULL is None."""
    map: Tensor | None
    """Raw map (*feature) in float32, signed; None where there is none."""

    def __getitem__(self, column: str) -> Any:
        return self.values[column]

    @property
    def placement(self) -> Placement | None:
        """Where the map's cells lie on the input; None without a map."""
        numbers = self.values.get("placement")
        if not numbers:
            return None
        rank = len(numbers) // 2  # the scale of each axis, then the offset of each
        return Placement(tuple(numbers[:rank]), tuple(numbers[rank:]))

    @property
    def input_size(self) -> tuple[int, ...] | None:
        """Size of the network's input in pixels by axis: the stored one, else as an even placement tells it; None without a map."""
        place, stored = self.placement, self.values.get("input_size")
        if stored:
            return tuple(stored)
        return None if place is None or self.map is None else tuple(round(s * n) for s, n in zip(place.scale, self.map.shape, strict=True))

    def resized(self, size: Sequence[int] | None = None) -> Tensor:
        """Return the map at the input's size, or another one, where its cells lie; DataError without a map.

        Args:
            size: of the whole input, in pixels by axis; None: that of the input.
        """
        place, own = self.placement, self.input_size
        if self.map is None or place is None or own is None:
            raise DataError(f"Sample {self.values.get('id')} has no map: {self.values.get('status')}.")
        size = own if size is None else tuple(size)
        if size != own:
            ratios = [wanted / had for wanted, had in zip(size, own, strict=True)]
            scale = tuple(step * ratio for step, ratio in zip(place.scale, ratios, strict=True))
            place = Placement(scale, tuple((o + 0.5) * ratio - 0.5 for o, ratio in zip(place.offset, ratios, strict=True)))
        return placed(self.map[None], size, place)[0]


@dataclass(frozen=True)
class Store:
    """Rows of a folder of shards, in order; nothing is read before it is asked for.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from camtool.store.layout import write_run
        >>> from camtool.store.schema import Row
        >>> from camtool.store.writer import write_rows
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = write_run(Path(folder), {"fingerprint": {}, "samples": 1, "shard_size": 64, "half": False})
        ...     row = Row(0, "cat.jpg", method="gradcam", layer="[0]", map=torch.eye(2), placement=(16.0, 16.0, 7.5, 7.5))
        ...     record = write_rows(Path(folder), 0, [row])
        ...     store = open_store(folder).where(method="gradcam")
        ...     [(row["path"], row.map.tolist(), row.resized().shape) for row in store]
        [('cat.jpg', [[1.0, 0.0], [0.0, 1.0]], torch.Size([32, 32]))]
    """

    folder: Path
    run: Mapping[str, Any]
    """Description of the run, as in `run.json`."""
    conditions: Mapping[str, Sequence[Any]]
    """By column the values that rows must have; of `where`."""

    def where(self, **conditions: Any) -> "Store":
        """Return the store of the rows that have one of these values, `where(method="gradcam", label=[0, 3])`; None is NULL.

        Raises:
            DataError: if there is no such column.
        """
        for column in conditions:
            if column not in FILTERS:
                raise DataError(f"Rows are not chosen by '{column}'{closest(column, FILTERS)}; expected {', '.join(FILTERS)}.")
        wanted = {name: list(v) if isinstance(v, (list, tuple, set, range, frozenset)) else [v] for name, v in conditions.items()}
        return replace(self, conditions={**self.conditions, **wanted})

    @property
    def samples(self) -> int:
        """Number of samples of the data set."""
        return int(self.run["samples"])

    @property
    def half(self) -> bool:
        """Whether the maps are stored in float16."""
        return bool(self.run.get("half"))

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards that are there."""
        return shard_numbers(self.folder)

    @property
    def is_complete(self) -> bool:
        """Whether all shards are there."""
        return set(self.shards) >= set(range(-(-self.samples // int(self.run["shard_size"]))))

    def tables(self, columns: Sequence[str] | None = None) -> Iterator["pa.Table"]:
        """Yield the rows of one shard after the other as a table.

        Args:
            columns: names; None: all of them.

        Raises:
            DataError: if a shard is damaged or deleted, or a column does not exist.
        """
        records, numbers = manifest(self.folder), self.shards
        check_nothing_deleted(self.folder, numbers, records)
        for number in numbers:
            yield self._shard(number, records, columns)

    def shard(self, number: int) -> "pa.Table":
        """Return the rows of one shard; DataError as `tables`."""
        return self._shard(number, manifest(self.folder), None)

    def _shard(self, number: int, records: Mapping[int, Mapping[str, Path]], columns: Sequence[str] | None) -> "pa.Table":
        names = None if columns is None else list(dict.fromkeys([*columns, *self.conditions]))
        table = self._chosen(_parsed(read_shard(self.folder, number, records), self.folder, number, names))
        return table if columns is None else table.select(list(columns))

    def table(self, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the rows as one table; DataError as `tables`, and if no shard is there."""
        import pyarrow as pa

        tables = list(self.tables(columns))
        if not tables:
            raise DataError(f"The store '{self.folder}' has no shard yet; run the same 'camtool run' again.")
        return pa.concat_tables(tables)

    def __iter__(self) -> Iterator[MapRow]:
        """Yield the rows in order, with their maps."""
        for table in self.tables():
            yield from rows_of(table)

    def distinct(self, column: str) -> list[Any]:
        """Return the values of a column in the order of their first row, without NULL."""
        found: dict[Any, None] = {}
        for table in self.tables([column]):
            found |= dict.fromkeys(value for value in table[column].unique().to_pylist() if value is not None)
        return list(found)

    def maps(self, size: Sequence[int] | None = None) -> Tensor:
        """Return the maps of all rows that have one, (rows, *feature); all of one shape, or resized.

        Args:
            size: in pixels by axis: the whole input, at this size; None: at the size of the features.

        Raises:
            DataError: if there is none, or they are of several shapes.
        """
        maps = [row.map if size is None else row.resized(size) for row in self if row.map is not None]
        shapes = {tuple(raw.shape) for raw in maps}
        if len(shapes) != 1:
            raise DataError(f"Expected maps of one shape, got {len(shapes)}; choose a method and a layer by where(…), or give a size.")
        return torch.stack(maps)

    def _chosen(self, table: "pa.Table") -> "pa.Table":
        import pyarrow as pa
        import pyarrow.compute as pc

        for column, values in self.conditions.items():
            kind = table.schema.field(column).type
            expected = str if pa.types.is_string(kind) else Integral  # pyarrow makes 2 of 2.5
            if not all(value is None or (isinstance(value, expected) and not isinstance(value, bool)) for value in values):
                raise DataError(f"Rows are not chosen by {column}={values}: expected values of the type {kind}, or None.")
            known = pa.array([value for value in values if value is not None], type=kind)
            mask = pc.is_in(table[column], value_set=known)
            if None in values:
                mask = pc.or_(mask, pc.is_null(table[column]))
            table = table.filter(mask)
        return table


def open_store(folder: str | Path) -> Store:
    """Return the store of a folder that `camtool run` wrote; its run may not have ended.

    Raises:
        DataError: if it is no store.
    """
    path = Path(os.path.expanduser(folder))
    return Store(path, read_run(path), {})


def rows_of(table: "pa.Table") -> Iterator[MapRow]:
    """Yield the rows of a shard's table with their maps."""
    for values, raw in zip(table.drop_columns(["map"]).to_pylist(), maps_of(table), strict=True):
        yield MapRow(values, raw)


def maps_of(table: "pa.Table") -> list[Tensor | None]:
    """Return the map of each row of a shard's table, (*feature) in float32; None where there is none."""
    column = table["map"].combine_chunks()
    if not len(column):
        return []
    values = column.values.to_numpy(zero_copy_only=False)
    starts, missing = column.offsets.to_numpy(), column.is_null().to_numpy(zero_copy_only=False)
    scales = table["scale"].to_pylist() if "scale" in table.column_names else None
    maps: list[Tensor | None] = []
    for row, shape in enumerate(table["map_shape"].to_pylist()):
        if missing[row]:
            maps.append(None)
            continue
        flat = np.array(values[starts[row] : starts[row + 1]], dtype=np.float32)
        if scales is not None:
            flat = (flat.astype(np.float64) * scales[row]).astype(np.float32)
        maps.append(torch.from_numpy(flat).reshape(shape))
    return maps


def _parsed(content: bytes, folder: Path, number: int, columns: Sequence[str] | None) -> "pa.Table":
    """Return the table of a shard with these columns, None: all; DataError if it is none, or lacks a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        known = file.schema_arrow.names
        unknown = next((name for name in columns or () if name not in known), None)
        if unknown is not None:
            raise DataError(f"The store '{folder}' has no column '{unknown}'{closest(unknown, known)}; expected {', '.join(known)}.")
        return file.read(columns)
    except pa.ArrowException as error:
        raise DataError(f"Shard {number} of '{folder}' is no Parquet file: {error}.") from error
