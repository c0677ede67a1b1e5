"""Aug-smooth: the mean map over flipped and brightened copies of the input. (For eigen-smooth see methods/_base.py.)"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from camtool.attribution.result import MethodMaps
from camtool.instrumentation.batching import chunk_size, in_chunks

FACTORS = (1.0, 0.9, 1.1)  # pytorch-grad-cam's test-time augmentation; the unchanged input first
COPIES = 2 * len(FACTORS)


def augmented_mean(explain: Callable[[Tensor, Sequence[bool]], dict[str, MethodMaps]], inputs: Tensor) -> dict[str, MethodMaps]:
    """Return the mean of the maps by `explain` of six copies of `inputs`: horizontal flip x FACTORS, un-flipped.

    The maps are un-flipped as they lie on the input: cells that look beside an even division do so in the flipped copy, too.

    The last axis is flipped, whatever the number of axes. `explain` gets as many copies in one batch, in a row, as memory allows, and
    must keep the targets of its first call for the first copy, the unchanged input. Differs from pytorch-grad-cam, which chooses
    targets anew for each copy and may mix two classes.
    """
    n = len(inputs)
    copies = [(inputs.flip(-1) if flipped else inputs) * factor for flipped in (False, True) for factor in FACTORS]
    passes: list[dict[str, MethodMaps]] = []

    def run(start: int, stop: int) -> None:
        explained = explain(torch.cat(copies[start:stop]), [place >= len(FACTORS) for place in range(start, stop)])
        for place in range(start, stop):
            samples = slice((place - start) * n, (place - start + 1) * n)
            undo = partial(_of_copy, samples=samples, flipped=place >= len(FACTORS))
            passes.append({name: _each(maps, undo) for name, maps in explained.items()})

    in_chunks(len(copies), max(chunk_size(inputs[:1]) // n, 1), run)
    return {name: _mean([explained[name] for explained in passes]) for name in passes[-1]}  # without methods that refused a later copy


def _of_copy(maps: Tensor, samples: slice, *, flipped: bool) -> Tensor:
    return maps[samples].flip(-1) if flipped else maps[samples]


def _each(explained: MethodMaps, change: Callable[[Tensor], Tensor]) -> MethodMaps:
    return MethodMaps(
        change(explained.maps),
        {path: change(raw) for path, raw in explained.raw.items()},
        {path: change(maps) for path, maps in explained.layer_maps.items()},
        None if explained.attributions is None else change(explained.attributions),
        explained.placement,
    )


def _mean(passes: Sequence[MethodMaps]) -> MethodMaps:
    first = passes[0]
    available = [maps_of_pass.attributions for maps_of_pass in passes if maps_of_pass.attributions is not None]
    attributions = torch.stack(available) if available else None
    return MethodMaps(
        torch.stack([maps_of_pass.maps for maps_of_pass in passes]).mean(dim=0),
        {path: torch.stack([maps_of_pass.raw[path] for maps_of_pass in passes]).mean(dim=0) for path in first.raw},
        {path: torch.stack([maps_of_pass.layer_maps[path] for maps_of_pass in passes]).mean(dim=0) for path in first.layer_maps},
        None if attributions is None else attributions.mean(dim=0),
        first.placement,
    )
