"""Checks of `camtool vis` that need what the options stand for: the layers of the network, and options without effect."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camtool.errors import LayoutError, warn

if TYPE_CHECKING:
    from camtool.apis import Explainer


def check_layers(explainer: "Explainer", *, vit_like: bool, importance: Path | None) -> None:
    """Raise LayoutError if the layers of a CNN are to be read as tokens, DataError if importances are of other layers."""
    from camtool.analysis.importance_files import read_importance
    from camtool.instrumentation.convolutional import is_convolutional_network

    if vit_like and is_convolutional_network(explainer.network.model):
        name = explainer.settings.model.config
        raise LayoutError(f"--vit-like reads layers as tokens, but '{name}' is a CNN: its layers are maps already. Leave --vit-like out.")
    if importance is not None:
        read_importance(importance).check_layers(explainer.cam.target_layers)


def say_what_has_no_effect(fuse: str, layers: Sequence[str] | str | None, previews: bool, overlaps: bool) -> None:
    """Warn of options that change nothing."""
    if overlaps:
        warn("--overlap has no effect without --window.")
    if previews:
        warn("--depth and --filter have no effect without --preview-model.")
    if fuse and (layers is None or isinstance(layers, str) or len(layers) == 1):
        warn(f"--fuse {fuse} has no effect: there is one target layer; --target-layers takes several.")
