"""camtool answers "where did this network look?" for any vision network."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CAM", "CAMResult", "__version__"]

if TYPE_CHECKING:
    from camtool.attribution.cam import CAM as CAM
    from camtool.attribution.result import CAMResult as CAMResult


def __getattr__(name: str) -> Any:
    # Lazy: `import camtool` must stay free of torch, so that `--help` answers at once.
    if name in ("CAM", "CAMResult"):
        return getattr(import_module("camtool.attribution.cam"), name)
    raise AttributeError(f"module 'camtool' has no attribute {name!r}")
