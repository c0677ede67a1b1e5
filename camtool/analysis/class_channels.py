"""ClassChannels: a method's map of the channels that matter to the explained class only."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from camtool.analysis.chosen_channels import ChosenChannels
from camtool.analysis.importance import Importance
from camtool.analysis.importance_files import read_importance
from camtool.analysis.selection import MODES, masks_of, selection_masks
from camtool.errors import DataError, MethodError, closest
from camtool.methods import BaseMethod, build_methods
from camtool.methods._base import sums_channels
from camtool.types import Maps


class ClassChannels(BaseMethod):
    """A method whose map is the sum over the channels that are kept for the explained class, each weighed as among all of them.

    Args:
        method: its map is a sum over channels.
        select: what was asked, for captions: "diff_top:0.3".
        masks: returns for the layer's number of channels which are kept for each class, 1 or 0; one row is that of every class.

    Raises:
        MethodError: if the method's map is no sum over channels; when used, if the layer has another number of channels, or the target
            is no class that there are masks of.
        DataError: when used, if the explained class has no importance.

    Example:
        >>> import torch
        >>> from camtool.methods import Evidence, build_method
        >>> activations = torch.tensor([[[1.0, 2.0], [0.0, 4.0]]])
        >>> evidence = Evidence(activations, torch.ones_like(activations), lambda: None, classes=[1])
        >>> ClassChannels(build_method("hirescam"), "index:1", lambda channels: np.eye(channels)).raw_map(evidence)
        tensor([[0., 4.]])
    """

    paper = "Li et al. 2024, arXiv:2407.01142"

    def __init__(self, method: BaseMethod, select: str, masks: Callable[[int], Float[np.ndarray, "k c"]]) -> None:
        if not sums_channels(method):
            raise MethodError(f"The map of '{method.name}' is no sum over channels, of which some could be chosen; try 'hirescam'.")
        self.method, self.select, self._masks = method, select, masks
        self.name, self.needs, self.class_discriminative, self.fusion = method.name, method.needs, True, method.fusion

    def contributions(self, evidence: Any) -> Maps:
        classes, masks = evidence.classes or [None], self._masks(evidence.activations.shape[1])
        if len(masks) == 1:
            classes = [0] * len(evidence.activations)
        missing = next((index for index in classes if index is None or index >= len(masks)), -1)
        if missing != -1:
            what = "a target that is no class, or further passes of the network" if missing is None else f"class {missing}"
            raise MethodError(f"Channels are selected for {len(masks)} classes, got {what}; try without a selection.")
        chosen = torch.from_numpy(masks_of(masks, classes))
        return ChosenChannels(self.method, self.name, mask=chosen).contributions(evidence)


def selected(methods: Any, select: str, importance: str | Path | None) -> Any:
    """Return methods that make their maps of the channels of a selection only; without a selection the methods as they are.

    Args:
        methods: as `camtool.methods.build_methods` takes them; None: gradcam.
        select: a mode of `selection_masks` and its ratio, "diff_top:0.3", "max", or the channels, "index:1,4".
        importance: a file of `camtool analyze importance`, of the same method and layer; not needed for "all" and "index".

    Raises:
        DataError: if the selection cannot be read, the file is missing, damaged, or of another method.
        MethodError: if the map of a method is no sum over channels.
    """
    if not select:
        if importance is not None:
            raise DataError("An importance (--importance) has no effect without a selection; try --select diff_top:0.3.")
        return methods
    mode, _, setting = select.partition(":")
    if mode not in MODES:
        raise DataError(f"No selection '{mode}'{closest(mode, MODES)}; expected one of {', '.join(MODES)}, with a ratio: diff_top:0.3.")
    chosen = list(build_methods(methods or "gradcam").values())
    if mode == "all":
        return chosen
    if mode == "index":
        try:
            index = [int(number) for number in setting.split(",")]
        except ValueError:
            raise DataError(f"Expected channels behind 'index', got '{select}'; try index:0,3.") from None
        return [ClassChannels(method, select, partial(_at, index)) for method in chosen]
    if importance is None:
        raise DataError(
            f"The selection '{select}' needs the importance of channels: expected --importance FILE, a Target_….csv of 'camtool analyze "
            "importance'."
        )
    try:
        ratio = float(setting or 1)
    except ValueError:
        raise DataError(f"Expected a ratio behind '{mode}', got '{select}'; try {mode}:0.3.") from None
    file = read_importance(importance)
    for method in chosen:
        file.check_method(method.name)
    masks = selection_masks(file.importance, mode, ratio=ratio)
    return [ClassChannels(method, select, lambda _: masks) for method in chosen]


def _at(index: Sequence[int], channels: int) -> Float[np.ndarray, "1 c"]:
    nothing = np.zeros((1, channels))
    return selection_masks(Importance(nothing[0], nothing, np.zeros(1, np.int64), 0, 0, 0), "index", index=index)
