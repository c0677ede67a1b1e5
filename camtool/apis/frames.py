"""Targets of networks that score each frame of a signal: a class in a span of seconds, over all frames, or where it is predicted."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camtool.apis.class_selection import PREDICTED, of_category
from camtool.apis.selection_base import Labels, TargetSelection
from camtool.apis.selection_result import ExplainedTarget, SelectionResult, ranking_of, sample_of
from camtool.apis.signals import NamedSignal
from camtool.apis.subjects import Subject
from camtool.attribution.cam import CAM
from camtool.attribution.sliding_window import SlidingWindow
from camtool.errors import TargetError, closest, some
from camtool.instrumentation.network_inputs import network_inputs
from camtool.instrumentation.output_axes import frame_axis
from camtool.models import Network
from camtool.models.class_labels import label
from camtool.models.sources.signal_preprocessing import SignalPreprocess
from camtool.targets import FromLogits, Region

ALL = "all"
"""In place of a span: every frame; `PREDICTED`: those in which the class is predicted."""

_AXES = {"ntc": 1, "nct": 2}
"""By the letters of an output's axes (samples, time, classes) that of time."""

Seconds = tuple[float, float]
Names = tuple[list[str] | None, str]
"""Of the classes, and a remark on them."""


def read_span(value: Any) -> str | tuple[Seconds, ...]:
    """Return "all", "predicted", or spans in seconds, in order: of "1.5:2.0", (1.5, 2.0), or a list of these.

    Raises:
        TargetError: if it is none of them, or a span does not end behind its begin.

    Example:
        >>> from camtool.apis.frames import read_span
        >>> read_span("1.5:2"), read_span([(4, 5.5), "1:2"]), read_span("all")
        (((1.5, 2.0),), ((1.0, 2.0), (4.0, 5.5)), 'all')
    """
    several = [value] if isinstance(value, str) or _is_pair(value) else value
    if not isinstance(several, (list, tuple)) or not several:
        raise _no_span(value)
    if len(several) == 1 and several[0] in (ALL, PREDICTED):
        return str(several[0])
    return tuple(sorted(map(_seconds, several)))


def _seconds(span: Any) -> Seconds:
    parts = span.split(":") if isinstance(span, str) else span
    try:
        begin, end = (float(part) for part in parts)
    except (TypeError, ValueError) as error:
        raise _no_span(span) from error
    if not (np.isfinite([begin, end]).all() and begin < end):
        raise TargetError(f"Expected a span (--span) that ends behind its begin, got {begin:g} to {end:g} seconds.")
    return begin, end


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and not any(isinstance(part, (str, list, tuple)) for part in value)


def _no_span(value: Any) -> TargetError:
    near = closest(value, (ALL, PREDICTED)) if isinstance(value, str) else ""
    return TargetError(f"Expected a span (--span) as FROM:TO in seconds, such as 1.5:2.0, or all or predicted, got {value!r}{near}.")


class FrameSelection(TargetSelection):
    """The sum of a class's scores over frames of a signal, as a target for each named class.

    Args:
        settings: `span`, as `read_span` takes it; `axes`, the order of an output's axes, "ntc" or "nct", None: it is measured.
        categories: classes by index or name, "predicted" or "label"; (): the class with the highest mean score in the span, or, over the
            frames where it is predicted, the one of most frames.

    Raises:
        TargetError: if a setting is misspelt or invalid, or the best classes are asked for (`top_k`).
    """

    name = "region"

    def __init__(self, settings: Mapping[str, Any], categories: Sequence[str | int], top_k: int | None = None) -> None:
        if top_k:
            raise TargetError("A span (--span) takes classes by categories (--target-category), not top_k (--top-k).")
        known = ("type", "span", "axes")
        for key in settings:
            if key not in known:
                raise TargetError(f"A span of frames has no setting '{key}'{closest(str(key), known)}; expected span, axes.")
        self._span, self._axes = read_span(settings["span"]), settings.get("axes")
        if self._axes is not None and self._axes not in _AXES:
            raise TargetError(
                f"Expected the output's axes (--output-axes) as ntc, frames before classes, or nct, the other way; got {self._axes!r}."
            )
        self._categories = [str(category) for category in categories]
        self._subjects: Sequence[Subject] = ()

    def fitted(self, subjects: Sequence[Subject], network: Network) -> "FrameSelection":
        """Return the selection for these signals."""
        fitted = copy(self)
        fitted._subjects = subjects
        return fitted

    def explain(self, cam: CAM | SlidingWindow, network: Network, inputs: Tensor, labels: Labels = ()) -> list[SelectionResult]:
        """Return the results; classes are chosen from the scores of the same forward pass."""
        of_network = network.inputs(inputs, cam.input_axes)
        measured = None
        if self._axes is None:
            prepared = network_inputs(network.model, of_network, network.source.picture_input, cam.input_axes, output=cam.output)
            measured = frame_axis(network.model, prepared)
        chosen: list[tuple[list[Region], list[ExplainedTarget], Names]] = []

        def choose(logits: Any) -> list[list[Region]]:
            axis = self._axis_of_time(logits, measured, network)
            names_of = cache(network.class_names)
            # Probing calls it, too, with the first sample alone.
            chosen[:] = [
                self._chosen(scores if axis == 2 else scores.mT, axis == 1, network, names_of, sample, labels[sample : sample + 1])
                for sample, scores in enumerate(logits)
            ]
            return [regions for regions, _, _ in chosen]

        results = cam(of_network, FromLogits(choose))
        selected = []
        for sample, (_, targets, (names, remark)) in enumerate(chosen):
            of_sample = {method: sample_of(result, sample) for method, result in results.items()}
            logits = next(iter(of_sample.values())).logits
            facts = {"span": self._span if isinstance(self._span, str) else [list(span) for span in self._span]}
            selected.append(SelectionResult(of_sample, targets, logits, names=names, remark=remark, facts=facts))
        return selected

    def _axis_of_time(self, logits: Any, measured: int | None, network: Network) -> int:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else ()
        if len(shape) != 3:
            gives = f"scores of shape {shape}" if shape else "detections"
            raise TargetError(
                f"--span needs scores of each frame, (n, frames, classes) or (n, classes, frames); the network gives {gives}."
            )
        axis = measured if self._axes is None else _AXES[self._axes]
        if axis is not None:
            return axis
        by_names = [axis for axis in (1, 2) if network.class_names(shape[3 - axis])[0] and shape[1] != shape[2]]
        if len(by_names) != 1:
            raise TargetError(
                f"It cannot be measured which axis of the scores {shape} is time: neither, or both, look at the signal in order. Say it by "
                "--output-axes ntc (frames before classes) or nct (classes before frames)."
            )
        return by_names[0]

    def _chosen(
        self,
        scores: Tensor,
        classes_last: bool,
        network: Network,
        names_of: Callable[[int], Names],
        sample: int,
        labels: Sequence[int | None],
    ) -> tuple[list[Region], list[ExplainedTarget], Names]:
        """Return the regions of one sample's scores (classes, frames), what they are called, and the class names."""
        classes, count = scores.shape
        times = self._times(sample, network, count)
        best = scores.argmax(dim=0)
        inside = None if self._span == PREDICTED else torch.from_numpy(self._inside(times)).to(scores.device)
        by_class = torch.bincount(best, minlength=classes) if inside is None else scores[:, inside].mean(dim=1)
        names = names_of(classes)
        named = partial(label, names=names[0])
        wanted = self._categories or [PREDICTED]
        found = dict.fromkeys(
            index for category in wanted for index in of_category(category, ranking_of(by_class), names[0], labels[0] if labels else None)
        )
        regions, targets = [], []
        for index in found:
            mask = best == index if inside is None else inside
            if not mask.any():
                frequent = [named(other) for other in ranking_of(by_class) if by_class[other] > 0]
                raise TargetError(
                    f"'{named(index)}' is predicted in none of the {count} frames; expected one of {some(frequent, 8)}, or --span all."
                )
            regions.append(Region(mask, index, classes_last=classes_last))
            marked = _runs(mask.cpu().numpy(), times) if inside is None else () if isinstance(self._span, str) else self._span
            frames = f"{int(mask.sum())} frame{'' if mask.sum() == 1 else 's'}"
            words = f"{named(index)}, sum of {frames}{_when(self._span)}"
            value = float((scores[index] * mask).sum())
            targets.append(ExplainedTarget(index, words, f"{self.name}_{index}", value, spans=tuple(marked)))
        return regions, targets, names

    def _times(self, sample: int, network: Network, count: int) -> np.ndarray:
        """Return the begin and the end (count, 2) of a sample's frames."""
        subject, preprocess = self._subjects[sample], network.preprocess
        if not isinstance(subject, NamedSignal) or not isinstance(preprocess, SignalPreprocess):
            raise TargetError("--span is a span of time of a signal; of pictures and volumes a region is a file, --mask FILE.")
        if subject.signal.rate is None and not isinstance(self._span, str):
            raise TargetError(
                f"Signal '{subject.name}' says nothing of its sampling rate, which --span in seconds needs; give it by --sampling-rate HZ."
            )
        return preprocess.frame_times(subject.signal, count)

    def _inside(self, times: np.ndarray) -> np.ndarray:
        """Return which frames are in the spans: those whose middle is, and of a span between two middles the frame around its own."""
        if isinstance(self._span, str):
            return np.ones(len(times), bool)
        middles, inside = times.mean(axis=1), np.zeros(len(times), bool)
        for begin, end in self._span:
            if end <= times[0, 0] or begin >= times[-1, 1]:
                raise TargetError(
                    f"--span {begin:g}:{end:g} is outside of what the network sees, {times[0, 0]:.6g} s to {times[-1, 1]:.6g} s."
                )
            own = (middles >= begin) & (middles < end)
            inside |= own if own.any() else np.arange(len(times)) == np.abs(middles - (begin + end) / 2).argmin()
        return inside


def _runs(mask: np.ndarray, times: np.ndarray) -> list[Seconds]:
    """Return begin and end of each run of frames in a mask."""
    steps = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    firsts, lasts = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    return [(float(times[first, 0]), float(times[last, 1])) for first, last in zip(firsts, lasts, strict=True)]


def _when(span: str | tuple[Seconds, ...]) -> str:
    if isinstance(span, str):
        return ", all there are" if span == ALL else " where it is predicted"
    return f" at {', '.join(f'{begin:g} to {end:g}' for begin, end in span)} s"
