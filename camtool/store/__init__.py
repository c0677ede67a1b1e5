"""Maps on disk: a folder of Parquet shards, each whole or absent, that others read as it is."""

from camtool.store.reader import MapRow as MapRow
from camtool.store.reader import Store as Store
from camtool.store.reader import open_store as open  # noqa: A004 - `camtool.store.open(folder)`, as `gzip.open`

__all__ = ["MapRow", "Store", "open"]
