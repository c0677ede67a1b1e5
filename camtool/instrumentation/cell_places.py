"""Measures where the cells of layers look, on the network's own weights: their answers to windows of noise along each axis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import LayerError, LayoutError
from camtool.functional import to_float32
from camtool.instrumentation.batching import chunk_size, in_chunks
from camtool.instrumentation.calls import ThreadHook
from camtool.instrumentation.cell_fit import AxisFit, fit_axis, windows
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_calls import LayerCalls
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.randomness import SameRandomNumbers
from camtool.layouts import Layout
from camtool.placement import MEASURED, Placement

SAMPLES = 8
"""Largest number of pictures of the call that are used; more make the spread smaller."""
WINDOWS = {1: 8, 2: 4, 3: 3}
"""Windows along each axis by the number of axes with more than one pixel: 18, 18 or 20 forward passes a picture."""
BRIGHTNESS = 0.25
"""Mean of the noise in units of its spread. Weights that average cancel noise without a mean, and their answers would be chance."""
CONTENT = 1.5
"""Variance that a single picture's content adds to that of its parts, as a multiple; reflecting it cancels the content only roughly."""
BLOCKS = 8
"""Most parts into which the cells beside the axis are divided; the differences of the parts give the spread."""


@runtime_checkable
class Layouts(Protocol):
    """What is asked for the layouts of layers; see `LayerLayouts`."""

    def fit(self, tensor: Tensor, path: str, *, batch: int, input_size: Sequence[int], index: int = 0) -> Layout:
        """Return the layout of a layer's output, or raise LayoutError."""

    def require_measured(self) -> None:
        """Raise LayoutError if a layer's layout has to be measured first."""


def measure_places(
    model: nn.Module, inputs: Inputs, layers: Mapping[str, nn.Module], layouts: Layouts, *, calls: LayerCalls | None = None, seed: int = 0
) -> dict[str, Placement]:
    """Return where the cells of each layer look; evenly, with the reason, where that cannot be measured or is no different.

    Seeded noise of the picture's own spread is added, times the square root of a window, for each of a few windows along each axis.
    The energy of the difference that this makes to each cell, over all channels, tells the cell's place; see `fit_axis`. Each picture
    is measured along with its reflection: where its content draws the answers to one side, the reflection draws them to the other.
    All layers are measured in the same passes, without a graph; hooks keep one number a cell. The distance of the cells is not
    measured: what cells see beyond the borders is missing, which makes them look closer together than they are.

    Args:
        calls: chooses the call of layers that are called several times; the first, if not given.
        seed: of the noise.
    """
    pixels = inputs.picture.shape[2:]
    answers: dict[str, list[Tensor]] = {path: [] for path in layers}
    why = ""
    try:
        with torch.no_grad(), evaluating(model):
            same = SameRandomNumbers(inputs.picture.device, seed)
            answers = same(lambda: _measure(model, inputs, layers, layouts, calls, torch.Generator(device="cpu").manual_seed(seed)))
    except (LayoutError, LayerError):
        raise
    except Exception as error:  # noqa: BLE001 - a network may refuse other batches in words of its own; its maps can still be drawn
        why = f"the network cannot be run on disturbed copies ({type(error).__name__})"
    return {path: _placement(members, pixels, why) for path, members in answers.items()}


def _measure(
    model: nn.Module,
    inputs: Inputs,
    layers: Mapping[str, nn.Module],
    layouts: Layouts,
    calls: LayerCalls | None,
    generator: torch.Generator,
) -> dict[str, list[Tensor]]:
    """Return for every picture, and its reflection, each layer's answers (windows, *cells): those to the first axis's windows first."""
    answers: dict[str, list[Tensor]] = {path: [] for path in layers}
    axes = tuple(range(2, inputs.picture.ndim))
    for number in range(min(len(inputs.picture), SAMPLES)):
        sample = inputs.sample(number)
        for picture in (sample.picture, sample.picture.flip(axes)):
            noise = torch.randn(picture.shape, generator=generator, dtype=torch.float32, device="cpu") + BRIGHTNESS
            spread = to_float32(picture).std(correction=0)
            noise = noise.to(picture.device) * torch.where(spread > 0, spread, 1)
            disturbed = list(_disturbed(picture, noise))
            parts: dict[str, list[Tensor]] = {path: [] for path in layers}

            def run(start: int, stop: int) -> None:
                batch = torch.cat([picture, *disturbed[start:stop]])  # noqa: B023 - called at once
                fit = partial(layouts.fit, batch=len(batch), input_size=picture.shape[2:])  # noqa: B023
                with _Listening(layers, fit, picture.shape[2:], calls.recorded if calls else {}) as heard:  # noqa: B023
                    sample.repeated(len(batch)).with_picture(batch).run(model)  # noqa: B023
                if calls:
                    calls.require(heard.counts)
                layouts.require_measured()
                for path, energies in heard.energies.items():
                    parts[path].append(energies)  # noqa: B023

            in_chunks(len(disturbed), max(chunk_size(picture) - 1, 1), run)
            for path, energies in parts.items():
                if energies:
                    answers[path].append(torch.cat(energies))
    return answers


def _disturbed(picture: Tensor, noise: Tensor) -> Iterator[Tensor]:
    """Yield the picture with noise in each window along each axis; axes of one pixel have none."""
    for axis, pixels in enumerate(picture.shape[2:], start=2):
        for window in windows(pixels, _window_count(picture.shape[2:])) if pixels > 1 else ():
            amplitude = window.sqrt().float().to(picture.device).view(-1, *[1] * (picture.ndim - 1 - axis))
            yield (picture + amplitude * noise).to(picture.dtype)


def _window_count(pixels: Sequence[int]) -> int:
    """Return the number of windows along each axis."""
    return WINDOWS[max(sum(size > 1 for size in pixels), 1)]


class _Listening:
    """While entered, reduces an output of each layer to the energy by which every sample differs from the first."""

    def __init__(
        self, layers: Mapping[str, nn.Module], fit: Callable[..., Layout], input_size: Sequence[int], calls: Mapping[str, int]
    ) -> None:
        self.counts = dict.fromkeys(layers, 0)
        self._calls = calls
        self.energies: dict[str, Float[Tensor, copies * cells]] = {}
        self._layers = layers
        self._fit = fit
        self._input_size = input_size
        self._stack = ExitStack()

    def __enter__(self) -> "_Listening":
        with ExitStack() as stack:
            for path, module in self._layers.items():
                stack.callback(module.register_forward_hook(ThreadHook(partial(self._hear, path))).remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hear(self, path: str, module: nn.Module, _: Any, output: Any) -> None:
        number = self.counts[path]
        self.counts[path] += 1
        for index, tensor in enumerate(tensors_in(output) if number == self._calls.get(path, 0) else ()):
            try:
                layout = self._fit(tensor, path, index=index)
            except LayoutError:
                continue
            maps = to_float32(layout.to_maps(tensor, self._input_size))
            # The square in float64: activations of untrained networks may be beyond the root of the largest number.
            sizes = torch.linalg.vector_norm(maps[1:] - maps[:1], dim=1)
            self.energies[path] = sizes.to("cpu").double().square()
            return


def _placement(members: Sequence[Tensor], pixels: Sequence[int], why: str) -> Placement:
    """Return the placement that the answers (windows of all axes, *cells) of pictures and their reflections tell."""
    if not members:
        return Placement.even(pixels, pixels, why or "the layer is not called, or has no maps")
    cells = members[0].shape[1:]
    even = Placement.even(cells, pixels, why)
    if why:
        return even
    # Each picture counts alike, however strongly the layer answers to it.
    members = [answers / answers.sum().clamp(min=torch.finfo(answers.dtype).tiny) for answers in members]
    fits, first = dict[int, AxisFit](), 0
    for axis, (size, count) in enumerate(zip(pixels, cells, strict=True)):
        number = _window_count(pixels) if size > 1 else 0
        if size > 1 and count > 1:
            blocks = [block for answers in members for block in _blocks(answers[first : first + number], axis + 1)]
            fits[axis] = fit_axis(torch.stack(blocks), size)
        first += number
    # That of all axes, which share content and noise: the spread of one alone may be small by chance.
    spread = (sum(fit.spread**2 for fit in fits.values()) / max(len(fits), 1) * (1 + 2 * CONTENT / len(members))) ** 0.5
    reasons = {axis: fit.why_not(spread) for axis, fit in fits.items()}
    if all(reasons.values()):
        return Placement.even(cells, pixels, "; ".join(dict.fromkeys(reasons.values())) or "one cell cannot be compared with another")
    shifts = [0.0 if reasons.get(axis, "one cell") else fits[axis].shift for axis in range(len(cells))]
    offsets = (offset + scale * shift for offset, scale, shift in zip(even.offset, even.scale, shifts, strict=True))
    kept = [f"along axis {axis} {reason}" for axis, reason in reasons.items() if reason]
    return Placement(even.scale, tuple(offsets), f"{MEASURED}; even {'; '.join(kept)}" if kept else MEASURED)


def _blocks(answers: Float[Tensor, "windows *cells"], axis: int) -> Iterator[Float[Tensor, "windows cells"]]:
    """Yield the answers summed over parts of the other axes."""
    flat = answers.movedim(axis, 1).flatten(2) if answers.ndim > 2 else answers.unsqueeze(2)
    for part in flat.tensor_split(min(BLOCKS, flat.shape[2]), dim=2):
        yield part.sum(dim=2)
