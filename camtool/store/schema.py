"""Schema of a store: one row for each sample, target, method and layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pyarrow as pa

OK = "ok"
NO_EVIDENCE = "no positive evidence"
"""Status of a map that is right, but has no positive value; no failure."""

INFORMED = (OK, NO_EVIDENCE, "flat")
"""Statuses of rows with a map; samples with any other could not be explained."""


@dataclass(frozen=True)
class Row:
    """One map of a sample, or why there is none.

    Example:
        >>> import torch
        >>> row = Row(0, "cat.jpg", method="gradcam", layer="[0]", map=torch.tensor([[1.0, -3.0]]), placement=(16.0, 16.0, 7.5, 7.5))
        >>> row.status, row.target is None
        ('ok', True)
    """

    id: int
    """Position of the sample in the data set, from 0."""
    path: str
    """Path of its file, relative to the data set's folder; what the data set calls it without a file."""
    method: str
    digest: str | None = None
    """Sha256 of the file, or of the values; None if it cannot be read."""
    label: int | None = None
    predicted: int | None = None
    target: int | None = None
    """Index of the explained class; None where the target is no class, or there is no map."""
    probability: float | None = None
    """Of the target."""
    logit: float | None = None
    """The network's score of the target."""
    layer: str | None = None
    """Path of the target layer, or "attention" or "input"."""
    map: Tensor | None = None
    """Raw map (*feature), signed."""
    placement: tuple[float, ...] | None = None
    """Where the map's cells lie on the input: the scale in pixels of each axis, then the offset of each."""
    input_size: tuple[int, ...] | None = None
    """Size of the network's input in pixels by axis; None: that of an even placement. A measured one does not tell it."""
    geometry: tuple[float, ...] | None = None
    """Where the network's input lies on a two-dimensional picture: (x, y) of the picture = (a x + b y + c, d x + e y + f) of the input's
    pixel, as (a, b, c, d, e, f); None if it is not known."""
    status: str = OK
    reason: str = ""
    importances: Tensor | None = None
    """(c,): sum over positions of each channel's contribution."""


def schema(*, half: bool = False, importances: bool = False) -> "pa.Schema":
    """Return the schema of the shards.

    Args:
        half: maps are float16, divided by the row's largest absolute value, which the column `scale` has.
        importances: with the column `importances`.
    """
    import pyarrow as pa

    fields = [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        ("digest", pa.string()),
        ("label", pa.int64()),
        ("predicted", pa.int64()),
        ("target", pa.int64()),
        ("probability", pa.float64()),
        ("logit", pa.float64()),
        pa.field("method", pa.string(), nullable=False),
        ("layer", pa.string()),
        ("map", pa.list_(pa.float16() if half else pa.float32())),
        *([("scale", pa.float64())] if half else []),
        ("map_shape", pa.list_(pa.int32())),
        ("placement", pa.list_(pa.float64())),
        ("input_size", pa.list_(pa.int32())),
        ("geometry", pa.list_(pa.float64())),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("sum", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        *([("importances", pa.list_(pa.float32()))] if importances else []),
    ]
    return pa.schema(fields)


def as_table(rows: Sequence[Row], *, half: bool = False, importances: bool = False) -> "pa.Table":
    """Return rows as a table of `schema`.

    Example:
        >>> import torch
        >>> table = as_table([Row(0, "cat.jpg", method="gradcam", layer="[0]", map=torch.tensor([[1.0, -3.0]]))])
        >>> table["map"].to_pylist(), table["map_shape"].to_pylist(), table["min"].to_pylist()
        ([[1.0, -3.0]], [[1, 2]], [-3.0])
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in schema(half=half, importances=importances).names}
    for row in rows:
        values = {**vars(row), **_of_map(row.map, half=half), "path": as_text(row.path), "reason": as_text(row.reason)}
        values["importances"] = None if row.importances is None else row.importances.detach().float().cpu().numpy()
        for name, column in columns.items():
            column.append(values.get(name))
    return pa.Table.from_pydict(columns, schema=schema(half=half, importances=importances))


def as_text(text: str) -> str:
    r"""Return text that can be written as UTF-8: bytes of a file name that are no text become escapes such as \udcff.

    Example:
        >>> as_text("caf\udce9.jpg")
        'caf\\udce9.jpg'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _of_map(raw: Tensor | None, *, half: bool) -> dict[str, Any]:
    """Return the columns that describe a map; its extremes and its sum are those before it is rounded."""
    if raw is None:
        return {"map": None}
    values = raw.detach().cpu()
    wide = values.double()
    facts: dict[str, Any] = {
        "map_shape": list(values.shape),
        "min": float(wide.amin()),
        "max": float(wide.amax()),
        "sum": float(wide.sum()),
    }
    if not half:
        return {**facts, "map": values.to(torch.float32).flatten().numpy()}
    scale = float(wide.abs().amax())
    shares = wide / scale if scale > 0 else wide
    return {**facts, "scale": scale, "map": shares.flatten().numpy().astype(np.float16)}
