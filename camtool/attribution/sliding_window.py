"""SlidingWindow: maps of inputs that are too large for one pass, explained window by window and blended."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camtool.attribution.call_results import as_nested, told_statuses
from camtool.attribution.cam import CAM
from camtool.attribution.result import CAMResult, finished
from camtool.attribution.windows import Place, Windows, batched, part_of
from camtool.errors import ZERO_GRADIENT, CamtoolError, MethodError, emit_again, recorded_warnings, times
from camtool.fusion import Fusion
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.network_inputs import network_inputs
from camtool.methods import reads_layers
from camtool.placement import placed
from camtool.targets import Region, Target, resolve_targets

MOST_OVERLAP = 0.9


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
        at_once: number of windows that share a pass. More take more memory, and are faster where windows are small.

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

    def __init__(
        self,
        cam: CAM,
        model: nn.Module,
        window: Any,
        overlap: Any,
        fusion: Fusion,
        progress: Progress | None = None,
        *,
        at_once: int = 1,
    ) -> None:
        self._window, self._overlap = check_window(window, overlap), overlap
        if fusion.needs_importances:
            raise MethodError(f"Fusion '{fusion.name}' needs importances of the whole input, which windows do not give; try mean.")
        self._cam, self._model, self._fusion, self._progress = cam, model, fusion, progress
        if type(at_once) is not int or at_once < 1:
            raise MethodError(f"Expected at_once as the number of windows that share a pass, at least 1, got {at_once!r}.")
        self._at_once = at_once
        self._words = ""
        self.refusals: dict[str, CamtoolError] = {}
        """Errors by method that has a map of no window, of the last call with `skip_unfit`."""
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
            found = self._cam(inputs, targets)
            self.refusals = self._cam.refusals
            return found
        self._words = f"{len(windows)} windows of {times(windows.size)}"
        logits = self._scores(inputs, windows)
        rows, nested = resolve_targets(targets, logits)
        self.refusals = {}
        results = [self._explained(inputs[sample : sample + 1], rows[sample], windows) for sample in range(len(inputs))]
        for name, error in self.refusals.items():  # a method that some samples have maps of is not left out for all
            if any(name in of_one for of_one in results):
                error.of_some = True
                raise error
        joined = {name: self._joined([of_one[name] for of_one in results], rows, logits, nested=nested) for name in results[0]}
        return joined if self._cam.several_methods else next(iter(joined.values()))

    def _scores(self, inputs: Tensor, windows: Windows) -> Tensor:
        """Return the mean of the windows' scores (n, classes); of a dense output (n, classes, *spatial) the blended one."""
        whole: Tensor | None = None
        with evaluating(self._model), torch.no_grad():
            done = 0
            for places in batched(windows, self._at_once):
                cuts = torch.cat([part_of(inputs, place) for place in places])
                scores = network_inputs(self._model, cuts, axes=self.input_axes, output=self.output).run(self._model)
                if not isinstance(scores, Tensor) or (scores.ndim != 2 and scores.shape[2:] != cuts.shape[2:]):
                    got = f"(n, {', '.join(map(str, scores.shape[1:]))})" if isinstance(scores, Tensor) else "detections"
                    raise MethodError(
                        f"Expected (n, classes), or scores (n, classes, …) at each position of a window of {times(windows.size)}, got "
                        f"{got}; leave the window out."
                    )
                for place, part in zip(places, scores.split(len(inputs)), strict=True):
                    if part.ndim == 2:
                        whole = part.float() / len(windows) if whole is None else whole + part.float() / len(windows)
                        continue
                    if whole is None:
                        whole = part.new_zeros(*part.shape[:2], *inputs.shape[2:], dtype=torch.float32)
                    part_of(whole, place).add_(windows.weighted(part.float()))
                done += len(places)
                self._tell(done, len(windows))
        assert whole is not None
        return whole if whole.ndim == 2 else windows.averaged(whole)

    def _explained(self, inputs: Tensor, targets: Sequence[Target], windows: Windows) -> dict[str, CAMResult]:
        """Return by method the result of the last window, its raw maps being those of the whole input, (1, k, *spatial) by layer."""
        sums: dict[str, dict[str, Tensor]] = {}
        results: dict[str, CAMResult] = {}
        refused: dict[str, CamtoolError] = {}
        nothing: CamtoolError | None = None
        done = 0
        for places in batched(self._ordered(inputs, targets, windows), self._at_once):
            done += len(places)
            self._tell(done, len(windows))
            seen = [(place, _within(targets, place, inputs.shape[2:])) for place in places]
            for few, found in self._batch(inputs, [(place, row) for place, row in seen if row is not None]):
                if isinstance(found, CamtoolError):
                    nothing = found
                    continue
                refused |= self._cam.refusals
                results = results | found  # a window without gradient may have no result of some methods
                for name, result in found.items():
                    layers = sums.setdefault(name, {})
                    for layer, raw in result.raw.items():
                        for place, of_window in zip(few, raw, strict=True):
                            large = placed(of_window.float(), windows.size, result.placement.get(layer))
                            if layer not in layers:
                                layers[layer] = large.new_zeros(len(large), *inputs.shape[2:])
                            part_of(layers[layer], place).add_(windows.weighted(large))
        if not results:
            raise nothing or MethodError("The region lies in none of the windows; expected a mask of the input.")
        self.refusals |= {name: error for name, error in refused.items() if name not in results}
        return {name: replace(results[name], raw={path: windows.averaged(raw)[None] for path, raw in sums[name].items()}) for name in sums}

    def _ordered(self, inputs: Tensor, targets: Sequence[Target], windows: Windows) -> list[Place]:
        """Return the windows; where the target layer is to be derived, one whose score has a gradient is the first.

        The first window of a scan is a corner of it, often of air alone, in which no layer has any.
        """
        places = list(windows)
        if self._cam.target_layers or not any(map(reads_layers, self._cam.methods.values())):
            return places
        for number, place in enumerate(places):
            row = _within(targets, place, inputs.shape[2:])
            if row is not None and any(layer.usable for layer in self._cam.probe(part_of(inputs, place), [row]).layers):
                return [place, *places[:number], *places[number + 1 :]]
        return places

    def _batch(
        self, inputs: Tensor, explained: Sequence[tuple[Place, Sequence[Target]]]
    ) -> Iterator[tuple[list[Place], dict[str, CAMResult] | CamtoolError]]:
        """Yield the results by method of windows that share a pass, one by one where one has an error of its own; that of no gradient is
        yielded.
        """
        if not explained:
            return
        places = [place for place, _ in explained]
        try:
            with recorded_warnings() as caught:  # a window without evidence is nothing to be told
                found = self._cam(torch.cat([part_of(inputs, place) for place in places]), [row for _, row in explained])
        except CamtoolError as error:
            if len(places) > 1 and (error.of_some or error.status == ZERO_GRADIENT):
                for one in explained:
                    yield from self._batch(inputs, [one])
                return
            if error.status != ZERO_GRADIENT:
                raise
            yield places, error
            return
        for warning in caught:
            if getattr(warning.message, "sample", None) is None:
                emit_again(warning)
        yield places, found if isinstance(found, dict) else {found.method: found}

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
            by_channel={},
        )

    def _tell(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress("windows", done, total)


def _within(targets: Sequence[Target], place: Place, size: Sequence[int]) -> list[Target] | None:
    """Return targets as a window sees them; None where a region has no part in it."""
    seen = [target.cropped(place, size) if isinstance(target, Region) else target for target in targets]
    return None if any(target is None for target in seen) else [target for target in seen if target is not None]


def check_window(window: Any, overlap: Any) -> tuple[int, ...]:
    """Return the window's sizes, one for all axes or one an axis; MethodError if they or the overlap are invalid."""
    sizes = (window,) if isinstance(window, int) else tuple(window) if isinstance(window, (list, tuple)) else ()
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise MethodError(f"Expected a window as a number of positions, or one for each axis, got {window!r}.")
    if isinstance(overlap, bool) or not isinstance(overlap, (int, float)) or not 0 <= overlap <= MOST_OVERLAP:
        raise MethodError(f"Expected an overlap as a share of the window, 0 to {MOST_OVERLAP}, got {overlap!r}.")
    return sizes
