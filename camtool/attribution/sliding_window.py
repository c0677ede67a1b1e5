"""SlidingWindow: maps of inputs that are too large for one pass, explained window by window and blended."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.attribution.call_results import as_nested, told_statuses
from camtool.attribution.cam import CAM
from camtool.attribution.result import CAMResult, finished
from camtool.errors import ZERO_GRADIENT, CamtoolError, MethodError, emit_again, recorded_warnings, times
from camtool.fusion import Fusion
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.network_inputs import network_inputs
from camtool.placement import placed
from camtool.targets import Region, Target, resolve_targets

MOST_OVERLAP = 0.9

_SPREAD = 0.125  # of the Gaussian, in windows, as in MONAI's and nnU-Net's inference
_LEAST_WEIGHT = 1e-3  # at a window's corner, by axis
_ALIGNED = 4  # the step is a multiple of a power of two about this much smaller than it


@dataclass(frozen=True)
class Windows:
    """Windows over an input: their size, and where they begin, by axis.

    Example:
        >>> Windows.over((100, 64), (48, 96), 0.5)
        Windows(size=(48, 64), starts=((0, 24, 48, 52), (0,)))
    """

    size: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @classmethod
    def over(cls, shape: Sequence[int], window: Sequence[int], overlap: float) -> "Windows":
        """Return the windows over an input of this shape; one that is larger than an axis takes the whole axis.

        Windows begin at multiples of a power of two, as the cells of a network's layers do, so that these lie alike in every window;
        the last one ends where the input does.

        Args:
            window: size by axis.
            overlap: share of a window that the next one covers, too.
        """
        size = tuple(min(side, wanted) for side, wanted in zip(shape, window, strict=True))
        starts = []
        for side, extent in zip(shape, size, strict=True):
            step = max(int(extent * (1 - overlap)), 1)
            unit = 2 ** max((step // _ALIGNED).bit_length() - 1, 0)
            step -= step % unit
            starts.append(tuple(dict.fromkeys([*range(0, side - extent, step), side - extent])))
        return cls(size, tuple(starts))

    def __len__(self) -> int:
        return math.prod(map(len, self.starts))

    def __iter__(self) -> Iterator[tuple[slice, ...]]:
        for corner in itertools.product(*self.starts):
            yield tuple(slice(start, start + extent) for start, extent in zip(corner, self.size, strict=True))

    def weights(self) -> list[Float[Tensor, " side"]]:
        """Return by axis the Gaussian weights within a window, 1 at its centre."""
        found = []
        for extent in self.size:
            places = torch.arange(extent, dtype=torch.float32, device="cpu") - (extent - 1) / 2
            found.append(torch.exp(-0.5 * (places / max(_SPREAD * extent, 0.5)) ** 2).clamp(min=_LEAST_WEIGHT))
        return found

    def weighted(self, values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return values (…, *size) of a window times their weights."""
        for axis, weights in enumerate(self.weights(), start=-len(self.size)):
            values = values * weights.to(values.device).view(-1, *[1] * (-1 - axis))
        return values

    def averaged(self, sums: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Divide, in place, the sums (…, *spatial) of all weighted windows by the sums of the weights, which are products over the axes."""
        for axis, (weights, starts) in enumerate(zip(self.weights(), self.starts, strict=True), start=-len(self.size)):
            whole = torch.zeros(sums.shape[axis], device="cpu")
            for start in starts:
                whole[start : start + len(weights)] += weights
            sums /= whole.to(sums.device).view(-1, *[1] * (-1 - axis))
        return sums


class SlidingWindow:
    """Calls a CAM window by window, and blends the raw maps on the input's positions by Gaussian weights, in float32.

    The score of a class is the mean of the windows' scores; it is chosen by that mean, and each window explains its own. A region's
    windows see their part of it; those without any count as zeros, as do windows whose score has no gradient. For a network of
    convolutions, global mean and one linear layer the blended map is that of the whole input up to one factor, away from the windows'
    borders by the receptive field.

    Args:
        cam: explains a window.
        model: the network of `cam`.
        window: positions by axis, or one number for all.
        overlap: share of a window that the next one covers, too, in [0, 0.9].
        fusion: of several layers; those that need importances are refused.

    Raises:
        MethodError: if a value is invalid, or the fusion needs importances.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> from camtool.attribution.sliding_window import SlidingWindow
        >>> from camtool.fusion import Mean
        >>> model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        >>> spot = torch.zeros(1, 1, 8, 8, 12)
        >>> spot[0, 0, 6, 2, 9] = 1.0
        >>> result = SlidingWindow(CAM(model, "[0]"), model, 8, 0.5, Mean())(spot)
        >>> result.maps.shape, result.maps[0, 6, 2, 9], result.source
        (torch.Size([1, 8, 8, 12]), tensor(1.), 'at [0], 2 windows of 8x8x8')
    """

    def __init__(self, cam: CAM, model: nn.Module, window: Any, overlap: Any, fusion: Fusion, progress: Progress | None = None) -> None:
        self._window, self._overlap = check_window(window, overlap), overlap
        if fusion.needs_importances:
            raise MethodError(f"Fusion '{fusion.name}' needs importances of the whole input, which windows do not give; try mean.")
        self._cam, self._model, self._fusion, self._progress = cam, model, fusion, progress
        self._words = ""
        self.input_axes, self.output = cam.input_axes, cam.output

    def __call__(self, inputs: Any, targets: Any = None) -> Any:
        """Return a CAMResult, or a dict of them by method name, as the CAM itself does; `raw` has the input's size.

        Args:
            inputs: (n, c, *spatial).
            targets: as of `CAM`.

        Raises:
            MethodError: if the network takes other inputs beside this one, its output is neither (n, classes) nor dense, or the window
                has another number of axes.
        """
        if not isinstance(inputs, Tensor):
            raise MethodError("Windows are cut from one input, and this network takes several; leave the window out.")
        spatial = inputs.shape[2:]
        window = self._window * len(spatial) if len(self._window) == 1 else self._window
        if len(window) != len(spatial):
            raise MethodError(f"Expected a window of {len(spatial)} sizes, or one for all axes; got {times(window)}.")
        windows = Windows.over(spatial, window, self._overlap)
        if len(windows) == 1:
            return self._cam(inputs, targets)
        self._words = f"{len(windows)} windows of {times(windows.size)}"
        logits = self._scores(inputs, windows)
        rows, nested = resolve_targets(targets, logits)
        results = [self._explained(inputs[sample : sample + 1], rows[sample], windows) for sample in range(len(inputs))]
        joined = {name: self._joined([of_one[name] for of_one in results], rows, logits, nested=nested) for name in results[0]}
        return joined if self._cam.several_methods else next(iter(joined.values()))

    def _scores(self, inputs: Tensor, windows: Windows) -> Tensor:
        """Return the mean of the windows' scores (n, classes); of a dense output (n, classes, *spatial) the blended one."""
        whole: Tensor | None = None
        with evaluating(self._model), torch.no_grad():
            for number, place in enumerate(windows, start=1):
                cut = _part(inputs, place).contiguous()
                scores = network_inputs(self._model, cut, axes=self.input_axes, output=self.output).run(self._model)
                if not isinstance(scores, Tensor) or (scores.ndim != 2 and scores.shape[2:] != cut.shape[2:]):
                    raise MethodError("Windows need a network that gives (n, classes), or scores at each position of its input.")
                if scores.ndim == 2:
                    whole = scores.float() / len(windows) if whole is None else whole + scores.float() / len(windows)
                else:
                    if whole is None:
                        whole = scores.new_zeros(*scores.shape[:2], *inputs.shape[2:], dtype=torch.float32)
                    _part(whole, place).add_(windows.weighted(scores.float()))
                self._tell(number, len(windows))
        assert whole is not None
        return whole if whole.ndim == 2 else windows.averaged(whole)

    def _explained(self, inputs: Tensor, targets: Sequence[Target], windows: Windows) -> dict[str, CAMResult]:
        """Return by method the result of the last window, its raw maps being those of the whole input, (1, k, *spatial) by layer."""
        sums: dict[str, dict[str, Tensor]] = {}
        results: dict[str, CAMResult] = {}
        nothing: CamtoolError | None = None
        for number, place in enumerate(windows, start=1):
            self._tell(number, len(windows))
            cut = _part(inputs, place).contiguous()
            seen = [target.cropped(place, inputs.shape[2:]) if isinstance(target, Region) else target for target in targets]
            if any(target is None for target in seen):
                continue
            try:
                with recorded_warnings() as caught:  # a window without evidence is nothing to be told
                    found = self._cam(cut, [seen])
            except CamtoolError as error:
                if error.status != ZERO_GRADIENT:
                    raise
                nothing = error
                continue
            for warning in caught:
                if getattr(warning.message, "sample", None) is None:
                    emit_again(warning)
            results = found if isinstance(found, dict) else {found.method: found}
            for name, result in results.items():
                for layer, raw in result.raw.items():
                    large = placed(raw[0].float(), cut.shape[2:], result.placement.get(layer))
                    layers = sums.setdefault(name, {})
                    if layer not in layers:
                        layers[layer] = large.new_zeros(len(large), *inputs.shape[2:])
                    _part(layers[layer], place).add_(windows.weighted(large))
        if not results:
            raise nothing or MethodError("The region lies in none of the windows; expected a mask of the input.")
        return {name: replace(results[name], raw={path: windows.averaged(raw)[None] for path, raw in sums[name].items()}) for name in sums}

    def _joined(self, results: Sequence[CAMResult], rows: Sequence[Sequence[Target]], logits: Tensor, *, nested: bool) -> CAMResult:
        """Return the result of all samples, from the blended raw maps of each."""
        first = results[0]
        size = next(iter(first.raw.values())).shape[2:]
        explained = finished({path: torch.cat([one.raw[path] for one in results]) for path in first.raw}, size, self._fusion)
        status, targets = told_statuses(first.method, explained, rows)
        shaped = partial(as_nested, nested=nested)
        return replace(
            first,
            maps=shaped(explained.maps),
            raw={path: shaped(raw) for path, raw in explained.raw.items()},
            layer_maps={path: shaped(maps) for path, maps in explained.layer_maps.items()},
            status=shaped(status),
            logits=logits,
            predicted=logits.argmax(dim=1).tolist() if logits.ndim == 2 else None,
            targets=shaped(targets),
            source=f"{first.source}, {self._words}",
            placement=dict(explained.placement),
            attributions=None,
            importances={},
        )

    def _tell(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress("windows", done, total)


def _part(values: Tensor, place: Sequence[slice]) -> Tensor:
    """Return the view of values (…, *spatial) within a window."""
    for axis, span in enumerate(place, start=-len(place)):
        values = values.narrow(axis, span.start, span.stop - span.start)
    return values


def check_window(window: Any, overlap: Any) -> tuple[int, ...]:
    """Return the window's sizes, one for all axes or one an axis; MethodError if they or the overlap are invalid."""
    sizes = (window,) if isinstance(window, int) else tuple(window) if isinstance(window, (list, tuple)) else ()
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise MethodError(f"Expected a window as a number of positions, or one for each axis, got {window!r}.")
    if isinstance(overlap, bool) or not isinstance(overlap, (int, float)) or not 0 <= overlap <= MOST_OVERLAP:
        raise MethodError(f"Expected an overlap as a share of the window, 0 to {MOST_OVERLAP}, got {overlap!r}.")
    return sizes
