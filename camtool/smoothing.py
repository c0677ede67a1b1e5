"""Aug-smooth: the mean map over flipped and brightened copies of the input. (Eigen-smooth is a way to collapse: methods/_base.py.)"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from camtool.result import MethodMaps

FACTORS = (1.0, 0.9, 1.1)  # pytorch-grad-cam's test-time augmentation; the unchanged input first


def augmented_mean(explain: Callable[[Tensor], dict[str, MethodMaps]], inputs: Tensor) -> dict[str, MethodMaps]:
    """Return the mean of what `explain` says of the six copies of `inputs`: horizontal flip x FACTORS, un-flipped.

    The last axis is flipped, whatever the number of axes. `explain` must keep the targets it chose on its first call, which sees
    the input unchanged: pytorch-grad-cam chooses anew for each copy and may mix two classes.
    """
    passes = []
    for flipped in (False, True):
        for factor in FACTORS:
            copy = (inputs.flip(-1) if flipped else inputs) * factor
            explained = explain(copy)
            passes.append({name: _unflip(maps) for name, maps in explained.items()} if flipped else explained)
    return {name: _mean([explained[name] for explained in passes]) for name in passes[-1]}  # what refused on the way is left out


def _unflip(explained: MethodMaps) -> MethodMaps:
    return MethodMaps(
        explained.maps.flip(-1),
        {path: raw.flip(-1) for path, raw in explained.raw.items()},
        {path: maps.flip(-1) for path, maps in explained.layer_maps.items()},
        None if explained.attributions is None else explained.attributions.flip(-1),
    )


def _mean(passes: Sequence[MethodMaps]) -> MethodMaps:
    first = passes[0]
    of_channels = [one.attributions for one in passes if one.attributions is not None]
    attributions = torch.stack(of_channels) if of_channels else None
    return MethodMaps(
        torch.stack([one.maps for one in passes]).mean(dim=0),
        {path: torch.stack([one.raw[path] for one in passes]).mean(dim=0) for path in first.raw},
        {path: torch.stack([one.layer_maps[path] for one in passes]).mean(dim=0) for path in first.layer_maps},
        None if attributions is None else attributions.mean(dim=0),
    )
