"""Contact sheets of rows of a store: each map over its sample, where it is known how that was seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from camtool.analysis.sources import Source
from camtool.apis.stored_pictures import StoredPictures, scaled_map
from camtool.errors import CamtoolError, warn
from camtool.store import Store
from camtool.visualization.captioned_sheet import CaptionedPicture
from camtool.visualization.contact_sheet import contact_sheet, map_alone


def sheet(
    store: Store, source: Source, rows: Sequence[Mapping[str, Any]], captions: Sequence[str], heading: str, pictures: StoredPictures
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a contact sheet (RGB) of rows of a store, in their order; a map whose sample cannot be drawn stands alone, with a warning.

    Args:
        captions: of each row.
        pictures: reads the samples.
    """
    wanted = {(row["id"], row["target"]): place for place, row in enumerate(rows)}
    tiles: dict[int, CaptionedPicture] = {}
    reasons: list[str] = []
    for row in source.rows(store.where(id=sorted({row["id"] for row in rows}))):
        place = wanted.get((row["id"], row["target"]))
        if place is None or row.map is None:
            continue
        try:
            tiles[place] = pictures.read(row).tile((captions[place],))
        except CamtoolError as error:
            reasons.append(str(error))
            tiles[place] = map_alone(scaled_map(row).numpy(), captions[place])
    if reasons:
        warn(f"Maps are drawn without their samples ({len(reasons)} of {len(tiles)}): {reasons[0]}")
    return contact_sheet([tiles[place] for place in sorted(tiles)], heading)
