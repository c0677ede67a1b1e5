"""Contact sheets of rows of a store: each map over its picture, where the picture can be shown as the network saw it."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from camtool.analysis.sources import Source
from camtool.errors import ImageError, warn
from camtool.functional import min_max
from camtool.io.images import read_picture
from camtool.store import MapRow, Store
from camtool.visualization.contact_sheet import Tile, contact_sheet

Pictures: TypeAlias = Callable[[MapRow], UInt8[np.ndarray, "h w 3"] | None]
"""Returns the picture of a row as the network saw it, of the size that the map lies over; None: the map is drawn alone."""


def files_below(root: str | Path | None) -> Pictures:
    """Return the pictures of files below a folder that are of the size of the network's input, so that nothing was cropped or resized.

    A warning says that others are not drawn: where their map lies is not known without the preprocessing.
    """

    def picture(row: MapRow) -> UInt8[np.ndarray, "h w 3"] | None:
        path = Path(os.path.expanduser(root)) / str(row["path"]) if root is not None else None
        if path is None or not path.is_file():
            warn(f"Maps are drawn without their pictures: no file '{row['path']}' in {f'{root!s}' if root is not None else 'the run'}.")
            return None
        try:
            found = read_picture(path)
        except ImageError:
            return None
        if found.shape[:2] == row.input_size:
            return found
        warn(
            "Maps are drawn without pictures of another size than the network's input, since cropping and resizing are not known; --config "
            "names the network's."
        )
        return None

    return picture


def sheet(
    store: Store, source: Source, rows: Sequence[Mapping[str, Any]], captions: Sequence[str], heading: str, pictures: Pictures
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a contact sheet (RGB) of rows of a store, in their order; each map's positive part, min-max, at the input's size.

    Args:
        captions: of each row.
    """
    wanted = {(row["id"], row["target"]): place for place, row in enumerate(rows)}
    tiles: dict[int, Tile] = {}
    for row in source.rows(store.where(id=sorted({row["id"] for row in rows}))):
        place = wanted.get((row["id"], row["target"]))
        if place is not None and row.map is not None:
            saliency = min_max(row.resized().clamp(min=0)[None])[0].double().numpy()
            tiles[place] = Tile(saliency, captions[place], pictures(row))
    return contact_sheet([tiles[place] for place in sorted(tiles)], heading)
