"""Responses: which elements of a layer's tensors change where slabs of the input are disturbed.

A slab is a range of the input along one spatial axis. Seeded noise of the input's own spread is added to one slab at a time, everything
else unchanged; the squared change of each element of each axis of a tensor, slab by slab, tells where in the input it looks.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from camtool.functional import to_float32
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.calls import ThreadHook
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.randomness import SameRandomNumbers
from camtool.layouts.localisation import Responses

SLABS = 8
SLABS_OF_VOLUMES = 4  # per axis: 14 passes in all
SAMPLES = 128
"""Numbers by which the change of one element is estimated: enough for its size, few enough to keep those of all layers."""
NOISE = 7_046_029_254_386_353_131
DESCRIPTION = "where the layers' elements look"


@dataclass
class Sketch:
    """A tensor of one pass, reduced at once to a few numbers of each element of each axis."""

    shape: tuple[int, ...]
    eps: float
    samples: list[Tensor]
    """By axis (length, samples); empty for axes of length 1."""


Sketches: TypeAlias = Mapping[str, list[Sketch]]
"""By layer: its floating-point tensors."""


def sketched(tensor: Tensor) -> Sketch:
    """Return the sketch of a tensor."""
    return Sketch(tuple(tensor.shape), torch.finfo(tensor.dtype).eps, _samples(tensor.detach()))


def layer_sketches(model: nn.Module, layers: Mapping[str, nn.Module], calls: Mapping[str, int]) -> Callable[[Inputs], Sketches]:
    """Return a function that runs the network and returns the sketches of one output of each layer; its hooks do not stay.

    Args:
        calls: by path of layers that are called several times: the number of the call; the first of the others.
    """

    def run(inputs: Inputs) -> Sketches:
        seen: dict[str, list[Sketch]] = {}
        counts = dict.fromkeys(layers, 0)

        def remember(path: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                if counts[path] == calls.get(path, 0):
                    seen[path] = [sketched(tensor) for tensor in tensors_in(output)]
                counts[path] += 1

            return hook

        with ExitStack() as stack:
            for path, module in layers.items():
                stack.callback(module.register_forward_hook(ThreadHook(remember(path))).remove)
            inputs.run(model)
        return seen

    return run


def measure_responses(
    model: nn.Module,
    inputs: Inputs,
    run: Callable[[Inputs], Sketches],
    *,
    slabs: Sequence[int] | None = None,
    seed: int = 0,
    strength: float = 1.0,
    progress: Progress | None = None,
) -> dict[str, list[Responses]]:
    """Return by layer the responses of its tensors to slabs of the first picture.

    Args:
        inputs: of one sample, or of several where the network takes no single one; the first is disturbed.
        run: runs the network and returns the sketches to compare.
        slabs: number of slabs by spatial axis; None: 8, in volumes 4, never more than the axis is long. Axes of length 1 have none.
        strength: factor of the noise.
        seed: of the noise, and of the network's own random numbers in every pass.
        progress: called as `progress(description, done, total)`.
    """
    picture = inputs.picture
    size = picture.shape[2:]
    most = SLABS_OF_VOLUMES if sum(length > 1 for length in size) > 2 else SLABS
    counts = [0 if length == 1 else min(count, length) for length, count in zip(size, slabs or [most] * len(size), strict=True)]
    noise = noise_like(picture[:1], seed, strength)
    places = [(axis, slab) for axis, count in enumerate(counts) for slab in range(count)]
    with evaluating(model), torch.no_grad():
        same = SameRandomNumbers(picture.device, seed)
        before, again = same(partial(run, inputs)), same(partial(run, inputs))
        found = {
            path: [_empty(sketch, _twin(again, path, index, sketch), counts) for index, sketch in enumerate(tensors)]
            for path, tensors in before.items()
        }
        for done, (axis, slab) in enumerate(places):
            if progress is not None:
                progress(DESCRIPTION, done + 2, len(places) + 2)
            disturbed = picture.clone()
            start, stop = slab * size[axis] // counts[axis], (slab + 1) * size[axis] // counts[axis]
            disturbed[:1].narrow(2 + axis, start, stop - start).add_(noise.narrow(2 + axis, start, stop - start))
            after = same(partial(run, inputs.with_picture(disturbed)))
            for path, tensors in before.items():
                for index, sketch in enumerate(tensors):
                    twin = _twin(after, path, index, sketch)
                    if twin is not None:
                        _add(found[path][index], sketch, twin, axis, slab)
    if progress is not None:
        progress(DESCRIPTION, len(places) + 2, len(places) + 2)
    return found


def noise_like(tensor: Tensor, seed: int = 0, strength: float = 1.0) -> Tensor:
    """Return seeded noise of a tensor's shape, the same on every device, of its own spread, or 1 if it has none, times `strength`."""
    wide = to_float32(tensor.detach())
    # Not a seed that the input itself may be drawn with: twice the input is the input for a network that normalises.
    noise = torch.randn(wide.shape, generator=torch.Generator(device="cpu").manual_seed(NOISE + seed), device="cpu").to(wide)
    spread = wide.std(correction=0)
    return (noise * strength * (spread if spread > 0 else 1)).to(tensor.dtype)


def _twin(sketches: Sketches, path: str, index: int, sketch: Sketch) -> Sketch | None:
    """Return the same tensor's sketch of another pass, if its shape is the same."""
    tensors = sketches.get(path, [])
    return tensors[index] if index < len(tensors) and tensors[index].shape == sketch.shape else None


def _samples(tensor: Tensor) -> list[Tensor]:
    """Return for each axis (length, samples) numbers of the tensor at evenly spread places, the same for each element of the axis."""
    if tensor.ndim < 3 or tensor.numel() == 0:
        return [torch.zeros(0, device="cpu") for _ in tensor.shape]
    return [
        torch.zeros(0, device="cpu") if slices is None else to_float32(tensor[slices].movedim(axis, 0).flatten(1)).clone()
        for axis, slices in enumerate(_slices(tuple(tensor.shape)))
    ]


@cache
def _slices(shape: tuple[int, ...]) -> list[tuple[slice, ...] | None]:
    """Return for each axis longer than 1 the slices that leave about SAMPLES numbers of the other axes."""
    found: list[tuple[slice, ...] | None] = []
    for axis, length in enumerate(shape):
        steps, left = [1] * len(shape), SAMPLES
        others = sorted((place for place in range(len(shape)) if place != axis), key=lambda place: shape[place])
        for number, place in enumerate(others):
            share = max(int(left ** (1 / (len(others) - number))), 1)
            steps[place] = max(shape[place] // share, 1)
            left = max(left // -(-shape[place] // steps[place]), 1)
        found.append(tuple(slice(None, None, step) for step in steps) if length > 1 else None)
    return found


def _empty(sketch: Sketch, again: Sketch | None, counts: Sequence[int]) -> Responses:
    zeros = [[torch.zeros(len(sample), count, device="cpu") for count in counts] for sample in sketch.samples]
    unrest = []
    for axis, sample in enumerate(sketch.samples):
        if again is None:
            unrest.append(torch.full((len(sample),), torch.inf, device="cpu"))
        else:
            unrest.append(_mean_square(sample - again.samples[axis]))
    scale = [_mean_square(sample) for sample in sketch.samples]
    return Responses(sketch.shape, sketch.eps, zeros, [[part.clone() for part in parts] for parts in zeros], unrest, scale)


def _add(responses: Responses, before: Sketch, after: Sketch, axis: int, slab: int) -> None:
    for place, (old, new) in enumerate(zip(before.samples, after.samples, strict=True)):
        if len(old):
            change = new - old
            responses.by_axis[place][axis][:, slab] = _mean_square(change)
            responses.own[place][axis][:, slab] = _mean_square(change - change.mean(dim=0, keepdim=True))


def _mean_square(samples: Tensor) -> Tensor:
    return samples.square().mean(dim=1).nan_to_num(nan=torch.inf).cpu() if len(samples) else torch.zeros(0, device="cpu")
