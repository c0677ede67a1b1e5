"""Where maps come from, as reports tell it: placements and versions."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from camtool import __version__
from camtool.placement import Placement


def placement_report(placement: Placement) -> dict[str, Any]:
    """Return a placement as a dict of JSON values: scale and offset in pixels by axis, and the source in words."""
    return {**{name: [round(value, 4) for value in getattr(placement, name)] for name in ("scale", "offset")}, "source": placement.source}


def versions(packages: Sequence[str] = ("torch", "torchvision", "mmengine", "mmpretrain", "timm", "numpy")) -> dict[str, str]:
    """Return the versions of camtool and of the packages that maps depend on."""
    found = {"camtool": __version__}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a fork of another name may provide the module
            found[package] = "unknown"
    return found
