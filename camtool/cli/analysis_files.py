"""Files of `camtool analyze` in other commands: one scale for all maps, and channels that matter to a class."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camtool.apis.canvas import MapScale


def map_scale(path: Path | None) -> "MapScale | None":
    """Return the scale of a normaliser's file, None if none is given; DataError if it cannot be read."""
    if path is None:
        return None
    from camtool.analysis.normaliser import Normaliser
    from camtool.analysis.scale import DataSetScale

    return DataSetScale(Normaliser.load(path))


def selected_methods(methods: Any, select: str, importance: Path | None) -> Any:
    """Return the methods, each with the channels that `--select` chooses by a file of importances; CamtoolError if that cannot be."""
    from camtool.analysis.class_channels import selected

    return selected(methods, select, importance)
